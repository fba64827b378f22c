import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clustnet.corrections.actions import AnyAction, parse
from clustnet.corrections.log import LOG, StaleError
from clustnet.corrections.session import Session
from clustnet.errors import UserError
from tests.clustnet.corrections.runs import FILES, found


def named(name: str, subtype: str = "ok/1") -> AnyAction:
    return parse({"verb": "rename", "subtype": subtype, "name": name})


def names(session: Session) -> list[str]:
    return [one.name for one in session.review.ordered()]


def test_a_second_process_goes_on(tmp_path: Path) -> None:
    Session(tmp_path, found()).do([named("grey"), named("blue", "ok/2")])
    assert names(Session(tmp_path, found())) == ["", "", "grey", "blue"]
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["serial"] for line in lines] == [0, 1, 2]


def test_actions_are_done_together_or_not(tmp_path: Path) -> None:
    session = Session(tmp_path, found())
    with pytest.raises(UserError, match="already belongs to ok/1"):
        session.do([named("grey"), named("grey", "ok/2")])
    assert (session.serial, names(session)) == (0, [""] * 4)
    assert not (tmp_path / LOG).exists()


def test_a_stale_action_is_refused(tmp_path: Path) -> None:
    one, other = Session(tmp_path, found()), Session(tmp_path, found())
    one.do([named("grey")], expected=0)
    with pytest.raises(StaleError, match="Somebody else changed"):
        other.do([named("blue")], expected=0)
    assert (names(other)[2], other.serial) == ("grey", 1)
    other.do([named("blue")], expected=1)
    one.refresh()
    assert names(one)[2] == "blue"


@pytest.mark.parametrize("cut", [1, 20, 70])
def test_a_torn_last_line_is_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str], cut: int) -> None:
    Session(tmp_path, found()).do([named("grey"), named("blue")])
    log = tmp_path / LOG
    log.write_bytes(log.read_bytes()[:-cut])
    session = Session(tmp_path, found())
    assert "cut short" in capsys.readouterr().out
    assert (names(session)[2], session.serial) == ("grey", 1)
    session.do([named("red")])
    assert names(Session(tmp_path, found()))[2] == "red"


@pytest.mark.parametrize("line", ["{}", "[]", "x", '{"serial": 2, "at": "", "verb": "undo"}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    Session(tmp_path, found()).do([named("grey")])
    header, _ = (tmp_path / LOG).read_text().splitlines()
    (tmp_path / LOG).write_text(f"{header}\n{line}\n")
    with pytest.raises(UserError, match="damaged: line 2"):
        Session(tmp_path, found())


def test_another_file_is_no_record(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("notes\n")
    with pytest.raises(UserError, match="not the record of a review"):
        Session(tmp_path, found())


def test_marks_outlive_new_subtypes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, mark = Session(tmp_path, found()), {"verb": "mark", "files": [FILES[0]], "mark": "wrong_label"}
    before.do([named("grey"), parse(mark)])
    changed = found()
    changed.subtype[1] = 3
    session = Session(tmp_path, changed)
    assert "review-1.jsonl" in capsys.readouterr().out
    assert (names(session), session.review.left_out(FILES[0]), session.serial) == ([""] * 4, "wrong_label", 1)
    assert "grey" in (tmp_path / "review-1.jsonl").read_text()
    with pytest.raises(UserError, match="start the review again"):
        before.refresh()


def test_threads_lose_no_action(tmp_path: Path) -> None:
    sessions = [Session(tmp_path, found()) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: sessions[number % 4].do([named(str(number))]), range(80)))
    assert Session(tmp_path, found()).serial == 80


def test_a_run_without_review_is_left_alone(tmp_path: Path) -> None:
    assert names(Session(tmp_path, found())) == [""] * 4
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tmp_path, found())
    session.do([named("grey")])
    before = (tmp_path / LOG).read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left"):
        session.do([named("blue")])
    monkeypatch.undo()
    assert (tmp_path / LOG).read_bytes() == before
    assert names(session)[2] == "grey"


KILLED = """
import sys
from pathlib import Path
from clustnet.corrections.session import Session
from tests.clustnet.corrections.runs import found
from tests.clustnet.corrections.test_log import named
session = Session(Path(sys.argv[1]), found())
for number in range(10**6):
    session.do([named(str(number))])
    print(number, flush=True)
"""


@pytest.mark.heavy
def test_a_kill_loses_nothing_said(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said = [process.stdout.readline() for _ in range(50)]
    process.kill()
    said += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    last = int([line for line in said if line.endswith("\n")][-1])
    assert Session(tmp_path, found()).serial in (last + 1, last + 2)
