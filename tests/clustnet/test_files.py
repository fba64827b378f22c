import csv
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet import files
from clustnet.errors import UserError
from clustnet.files import (
    check_writable,
    expanded,
    replacing,
    replacing_folder,
    sha256_of,
    shown,
    stamp_of,
    write_table,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write_half_and_fail(path: Path) -> None:
    path.write_text("half")
    raise FileNotFoundError


def test_sha256_is_hashlibs(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    stamps = [stamp_of(path)]
    for text in ("a", "bb", "ccc"):
        write_text(path, text)
        stamps.append(stamp_of(path))
        assert stamp_of(path) == stamps[-1]
    assert stamps[0] is None
    assert len(set(stamps)) == 4


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    write_text(target, "old")
    write_text(target, "n\u00e9w")
    assert target.read_bytes() == "n\u00e9w".encode()
    assert names(target.parent) == ["file"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file") as temporary:
        write_half_and_fail(temporary)
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_table_has_the_columns_of_all_rows(tmp_path: Path) -> None:
    rows = [{"name": "a, \u00e9", "load/0": 0.1}, {"name": "line\nbreak", "load/1": float("nan")}]
    write_table(tmp_path / "deep" / "table.csv", rows)
    with (tmp_path / "deep" / "table.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["name", "load/0", "load/1"],
            ["a, \u00e9", "0.1", ""],
            ["line\nbreak", "", "nan"],
        ]
    assert names(tmp_path / "deep") == ["table.csv"]


@pytest.mark.parametrize("step", ["one", "two", "two without the call"])
def test_a_folder_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    if step == "two":
        monkeypatch.setattr(files, "RENAME_EXCHANGE", 1 << 20)
    elif step != "one":
        monkeypatch.setattr("ctypes.CDLL", lambda _: None)
    for content in ("old", "new"):
        with replacing_folder(tmp_path / "a" / "folder") as temporary:
            (temporary / content).touch()
    assert names(tmp_path / "a" / "folder") == ["new"]
    assert names(tmp_path / "a") == ["folder"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets two folders change places")
def test_a_folder_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    # A kill between two renames would leave no folder.
    monkeypatch.setattr(Path, "rename", None)
    with replacing_folder(tmp_path / "folder") as temporary:
        (temporary / "new").touch()
    assert (names(tmp_path), names(tmp_path / "folder")) == (["folder"], ["new"])


def test_a_link_to_a_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "folder").symlink_to("old")
    with replacing_folder(tmp_path / "folder") as temporary:
        (temporary / "new").touch()
    assert (names(tmp_path), names(tmp_path / "folder")) == (["folder", "old"], ["new"])
    assert not (tmp_path / "folder").is_symlink()


@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_leaves_the_folder_as_it_was(tmp_path: Path, existed: bool) -> None:
    if existed:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "old").touch()
    with pytest.raises(FileNotFoundError), replacing_folder(tmp_path / "folder") as temporary:
        write_half_and_fail(temporary / "new")
    assert names(tmp_path) == (["folder"] if existed else [])
    assert not existed or names(tmp_path / "folder") == ["old"]


def test_a_failed_move_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if (self / "new").exists():
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(OSError, match="no"), replacing_folder(tmp_path / "folder") as temporary:
        (temporary / "new").touch()
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["old"]


KILLED = """
import os, signal, sys
from pathlib import Path
from clustnet.files import replacing, replacing_folder
with replacing(Path(sys.argv[1]) / "file") as file, replacing_folder(Path(sys.argv[1]) / "folder") as folder:
    file.write_text("half")
    (folder / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_left_overs_of_killed_writers_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".file.bak").touch()
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert len(names(tmp_path)) == 3
    write_text(tmp_path / "file", "whole")
    assert names(tmp_path) == [".file.bak", "file"]


def test_what_is_being_written_is_no_left_over(tmp_path: Path) -> None:
    with replacing(tmp_path / "one") as first, replacing_folder(tmp_path / "two") as second:
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
        first.write_text("whole")
        (second / "whole").touch()
        # As another process.
        files._remove_left_overs.cache_clear()
        write_text(tmp_path / "three", "whole")
        assert (first.exists(), second.exists()) == (True, True)
    assert names(tmp_path) == ["one", "three", "two"]


@pytest.mark.parametrize("folder", [".", "new", "new/deep"])
def test_what_can_be_written_is_left_alone(tmp_path: Path, folder: str) -> None:
    check_writable(tmp_path / folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        (
            "/proc/none/deep",
            r"^/proc/none/deep cannot be written, as /proc cannot \(.*\); name another folder by --to\.$",
        ),
        ("/proc", r"^/proc cannot be written \(.*\); name another folder by --to\.$"),
        ("file/deep", r"file/deep cannot be written, as .*file cannot \(Not a directory\)"),
        ("link", r"link cannot be written \("),
    ],
)
def test_what_cannot_be_written_is_one_sentence(tmp_path: Path, folder: str, said: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere/at/all")
    with pytest.raises(UserError, match=said):
        check_writable(tmp_path / folder, "--to")


@given(st.binary(min_size=1, max_size=20))
def test_every_name_is_shown(name: bytes) -> None:
    found = shown(os.fsdecode(name))
    assert found.encode() == name.decode("utf-8", "backslashreplace").encode()


def test_ascii_and_other_letters_stay() -> None:
    assert shown(Path("digits/\u00fc \\.png")) == "digits/\u00fc \\.png"
    assert shown("\ud800") == "\\ud800"


def test_home_is_put_for_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a"
    assert expanded("a/~") == Path("a/~")


def test_a_table_shows_names_of_any_bytes(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", [{"file": os.fsdecode(b"caf\xe9.png"), "folder": Path("a"), "images": 1}])
    assert (tmp_path / "table.csv").read_text() == "file,folder,images\ncaf\\xe9.png,a,1\n"
