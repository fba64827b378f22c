import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clustnet.bundles.predictor import Predictor
from clustnet.errors import UserError
from clustnet.feedback.feedback_file import Answer, FeedbackFile, FileFullError, Labels, read_feedback

MODEL = Labels("mnist", "1", ("cat", "dog", "eel"), {"dry": [0, 1], "wet": [2]})
ANSWER = Answer(1e9, "cat", 0.75, "dry", 0.5, 3, 0.25, False)
ADDING = """
import sys
from pathlib import Path
from tests.clustnet.feedback.test_feedback_file import ANSWER, MODEL, FeedbackFile

file = FeedbackFile(Path(sys.argv[1]), 10**6)
for number in range(10**6):
    file.add(MODEL, f"r{number}", 0, ANSWER, "eel")
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feedback.sqlite"


floats = st.floats(allow_nan=False)
answers = st.builds(Answer, floats, st.text(), floats, st.text(), floats, st.integers(0, 999), floats, st.booleans())


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=answers, label=st.text(), request_id=st.text(), image=st.integers(0, 2**31))
def test_what_is_added_is_found_and_read(
    tmp_path_factory: pytest.TempPathFactory, answer: Answer, label: str, request_id: str, image: int
) -> None:
    path = tmp_path_factory.mktemp("feedback") / "file"
    with closing(FeedbackFile(path, 9)) as file:
        added = file.add(MODEL, request_id, image, answer, label)
        assert (added.answer, added.label, added.correct) == (answer, label, answer.guess == label)
        assert file.find(request_id, image) == (MODEL, added)
        assert file.find(request_id, image + 1) is None
        assert list(read_feedback(path)) == [(MODEL, [added])]


def test_each_row_waits_for_the_disk(path: Path) -> None:
    """No test can cut the power; it is SQLite's setting FULL, 2, that keeps what was committed before."""
    with closing(FeedbackFile(path, 9)) as file:
        for number in range(2):
            file.add(MODEL, f"r{number}", 0, ANSWER, "eel")
            assert file._file.connection().execute("PRAGMA synchronous").fetchone() == (2,)
            for left in path.parent.iterdir():
                left.unlink()


def test_models_are_told_apart(path: Path, predictor: Predictor) -> None:
    other = Labels.of(predictor.manifest)
    assert other.grouping() == predictor.manifest.grouping()
    # The same name and version, exported again.
    renamed = replace(MODEL, classes=("cat", "dog", "fox"))
    with closing(FeedbackFile(path, 9)) as file:
        for number, model in enumerate((MODEL, other, MODEL, renamed)):
            file.add(model, "r", number, ANSWER, "dog")
        file.add(MODEL, "q", 0, ANSWER, "dog")
    found = [(model, [row.image for row in rows]) for model, rows in read_feedback(path)]
    assert found == [(MODEL, [0, 2, 0]), (other, [1]), (renamed, [3])]


def test_an_image_has_one_row_and_rows_stay(path: Path) -> None:
    with closing(FeedbackFile(path, 9)) as file:
        first = file.add(MODEL, "r", 1, ANSWER, "dog")
        with pytest.raises(sqlite3.IntegrityError):
            file.add(MODEL, "r", 1, ANSWER, "cat")
        assert file.find("r", 1) == (MODEL, first)
    with closing(sqlite3.connect(path)) as connection:
        for statement in ("UPDATE feedback SET label = 'cat'", "DELETE FROM feedback"):
            with pytest.raises(sqlite3.IntegrityError, match="feedback is only added"):
                connection.execute(statement)


def test_a_full_file_takes_no_more(path: Path) -> None:
    with closing(FeedbackFile(path, 2)) as file, closing(FeedbackFile(path, 2)) as other:
        file.add(MODEL, "r", 0, ANSWER, "dog")
        other.add(MODEL, "r", 1, ANSWER, "dog")
        for each in (file, other):
            with pytest.raises(FileFullError, match="is full at 2 rows"):
                each.add(MODEL, "r", 2, ANSWER, "dog")
    with closing(FeedbackFile(path, 3)) as file:
        file.add(MODEL, "r", 2, ANSWER, "dog")


def test_a_killed_process_loses_no_feedback(path: Path) -> None:
    command = [sys.executable, "-c", ADDING, str(path)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        kept = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        kept += map(int, process.stdout.read().split())
    log = path.with_name(f"{path.name}-wal")
    # The rows are there.
    assert log.stat().st_size > 0
    ((_, rows),) = read_feedback(path)
    # It may have died before it could report.
    assert len(rows) in (len(kept), len(kept) + 1)
    assert [row.request_id for row in rows] == [f"r{number}" for number in range(len(rows))]
    with closing(FeedbackFile(path, 10**6)) as file:
        file.add(MODEL, "after", 0, ANSWER, "cat")
    assert sum(len(rows) for _, rows in read_feedback(path)) == len(rows) + 1


def test_new_and_other_files_have_no_feedback(path: Path) -> None:
    FeedbackFile(path, 1).close()
    assert list(read_feedback(path)) == []
    with closing(sqlite3.connect(path.with_name("other"))) as connection:
        connection.execute("CREATE TABLE feedback (n)")
    with pytest.raises(UserError, match="SQLite file of another kind"):
        list(read_feedback(path.with_name("other")))
