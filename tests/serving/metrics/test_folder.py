import errno
import logging
import os
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from serving.metrics.folder import FILE_BYTES, KINDS, VARIABLE, choose_folder


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "another")


def test_a_worker_alone_keeps_its_metrics_to_itself() -> None:
    choose_folder(None)
    assert VARIABLE not in os.environ


def test_several_take_their_space_first(tmp_path: Path) -> None:
    choose_folder(str(tmp_path))
    assert os.environ[VARIABLE] == str(tmp_path)
    for kind in KINDS:
        path = tmp_path / f"{kind}_{os.getpid()}.db"
        assert path.stat().st_blocks * 512 >= FILE_BYTES
        file = MmapedDict(str(path))  # type: ignore[no-untyped-call]
        file.write_value("metric", 1.0, 0.0)  # type: ignore[no-untyped-call]
        assert list(file.read_all_values()) == [("metric", 1.0, 0.0)]  # type: ignore[no-untyped-call]
        file.close()  # type: ignore[no-untyped-call]
        # All was there before.
        assert path.stat().st_size == FILE_BYTES


def test_on_a_full_disk_a_worker_serves_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    monkeypatch.setattr(os, "posix_fallocate", fail)
    choose_folder(str(tmp_path))
    assert VARIABLE not in os.environ
    assert list(tmp_path.iterdir()) == []
    assert "has no space for a worker's metrics (No space left on device)" in caplog.text
