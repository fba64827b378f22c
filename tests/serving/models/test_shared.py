import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from serving.models.shared import FOLDER, Agreement, Served, SharedFile, share_folder, shared_folder
from serving.refusals import Refusal

SERVED = Served(folder=Path("/bundles/a"), version="1", digest="0" * 64)
AGREEMENT = Agreement(generation=3, default="a", models={"b": (), "a": (SERVED,)}, unloaded={"c": ("1", "2")})


def test_an_agreement_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = SharedFile(tmp_path)
    assert file.read() is None
    file.write(AGREEMENT)
    assert SharedFile(tmp_path).read() == AGREEMENT
    # The order of the models is kept.
    assert list(AGREEMENT.models) == ["b", "a"]
    assert [path.name for path in tmp_path.iterdir()] == ["served.json"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = r"^The workers' shared file .*served\.json cannot be written \(.*\); free space there, or set TMPDIR"
    with pytest.raises(Refusal, match=message) as caught:
        SharedFile(tmp_path / "file").write(AGREEMENT)
    assert caught.value.status == 503
    with pytest.raises(Refusal, match="cannot be written"), SharedFile(tmp_path / "none").locked():
        pass


def test_each_change_is_seen_once(tmp_path: Path) -> None:
    file, other = SharedFile(tmp_path), SharedFile(tmp_path)
    assert not file.changed()
    for generation in (4, 5):
        other.write(AGREEMENT.model_copy(update={"generation": generation}))
        assert (file.changed(), file.changed()) == (True, False)


def test_one_worker_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    inside = Event()

    def enter() -> None:
        with SharedFile(tmp_path).locked():
            inside.set()

    with ThreadPoolExecutor(1) as pool:
        with SharedFile(tmp_path).locked():
            entering = pool.submit(enter)
            assert not inside.wait(0.2)
        entering.result()
    assert inside.is_set()


def test_workers_get_the_first_process_folder() -> None:
    script = """if True:
        import os, subprocess, sys
        from serving.models.shared import share_folder, shared_folder
        share_folder()
        show = "from serving.models.shared import shared_folder; print(shared_folder(), shared_folder().is_dir())"
        for _ in range(2):
            subprocess.run([sys.executable, "-c", show], check=True)
    """
    shown = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    first, second = shown.splitlines()
    assert first == second
    folder, was_there = first.split()
    assert was_there == "True"
    assert not Path(folder).exists()


def test_a_single_process_has_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    assert shared_folder() != shared_folder()
    assert FOLDER not in os.environ
    monkeypatch.setenv(FOLDER, "/left/over")
    share_folder()
    assert shared_folder() != Path("/left/over")


def test_folders_of_killed_servers_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"clustnet-{dead.pid}-a", f"clustnet-{os.getpid()}-b", "clustnet-serve-c", f"other-{dead.pid}-d"]
    for name in names:
        (tmp_path / name).mkdir()
    monkeypatch.delenv(FOLDER, raising=False)
    mine = shared_folder()
    assert {path.name for path in tmp_path.iterdir()} == {*names[1:], mine.name}
