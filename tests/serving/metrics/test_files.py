import errno
import logging
import os
from pathlib import Path

import pytest
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from serving.metrics.files import MetricsFile

# More than the first size of a file.
MANY = [f"metric {number:05}" for number in range(5000)]


class Disk:
    """A disk that is full from some size of a file on."""

    def __init__(self) -> None:
        self.most_bytes = 0
        self.take = os.posix_fallocate

    def __call__(self, file: int, start: int, size: int) -> None:
        if size > self.most_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.take(file, start, size)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "posix_fallocate", disk)
    return disk


def shown(path: Path) -> dict[str, float]:
    return {key: value for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path))}


def test_a_worker_keeps_its_metrics_in_such_files() -> None:
    assert values.MmapedDict is MetricsFile


def test_all_space_of_a_file_is_taken(tmp_path: Path) -> None:
    file = MetricsFile(str(tmp_path / "file"))
    sizes = set()
    for number, key in enumerate(MANY):
        file.write_value(key, number, 0.0)
        status = (tmp_path / "file").stat()
        sizes.add(status.st_size)
        # A block has 512 bytes; one that is missing kills who writes on a full disk.
        assert status.st_blocks * 512 >= status.st_size
    assert sizes == {2**16, 2**17, 2**18}
    assert shown(tmp_path / "file") == {key: number for number, key in enumerate(MANY)}
    file.close()


def test_without_any_space_there_is_no_file(tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    file = MetricsFile(str(tmp_path / "file"))
    assert file.read_value("a") == (0.0, 0.0)
    file.write_value("a", 1.0, 0.0)
    assert list(tmp_path.iterdir()) == []
    message = f"{tmp_path / 'file'} cannot grow (No space left on device), so some metrics are not shown; free space."
    assert caplog.record_tuples == [("bentoml.clustnet", logging.ERROR, message)]
    disk.most_bytes = 2**16
    file.write_value("a", 2.0, 0.0)
    assert shown(tmp_path / "file") == {"a": 2.0}
    assert file.read_value("a") == (2.0, 0.0)
    file.close()


def test_a_full_disk_leaves_what_is_shown(tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    disk.most_bytes = 2**16
    file = MetricsFile(str(tmp_path / "file"))
    for key in MANY:
        file.write_value(key, 1.0, 0.0)
    before = shown(tmp_path / "file")
    assert 1000 < len(before) < len(MANY)
    assert len(caplog.records) == 1
    for key in (MANY[0], MANY[-1]):
        file.write_value(key, 2.0, 0.0)
    assert shown(tmp_path / "file") == before | {MANY[0]: 2.0}
    disk.most_bytes = 2**17
    file.write_value(MANY[-1], 3.0, 0.0)
    assert shown(tmp_path / "file") == before | {MANY[0]: 2.0, MANY[-1]: 3.0}
    file.close()


def test_a_file_of_an_earlier_process_goes_on(tmp_path: Path) -> None:
    for number in (1.0, 2.0):
        file = MetricsFile(str(tmp_path / "file"))
        assert file.read_value("a") == (number - 1, 0.0)
        file.write_value("a", number, 0.0)
        file.close()
