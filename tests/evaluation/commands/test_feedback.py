import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from clustnet.cli import DONE, WRONG_INPUT, main
from evaluation.feedback.scoring import NO_SAMPLE
from tests.evaluation.feedback.test_scoring import MODEL, ROWS, write

STRANGE = replace(MODEL, name="<b>", classes=("<i>", "dog", "eel"))


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def test_the_report_shows_the_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write(tmp_path / "told.sqlite"), tmp_path / "report"
    write(path, STRANGE, [("<i>", "dog", 0.5, "dry", False)])
    assert evaluate("--feedback", path, "--out", out) == DONE
    printed = capsys.readouterr().out
    heading = "mnist 1: feedback on 5 images that were answered from 1970-01-01 to 1970-01-01"
    assert printed.startswith(
        f"{heading}\n  Class accuracy                            60.00%  3 of 5, 95% interval 23.07%"
    )
    assert printed.endswith(f"{NO_SAMPLE}\nreport: {out}/report.html\n")
    assert {file.name for file in out.iterdir()} == {"scores.json", "predictions.csv", "report.html"}
    document = json.loads((out / "scores.json").read_text())
    assert (document["feedback"], document["caution"]) == (str(path), NO_SAMPLE)
    first = document["models"][0]
    assert (first["model"], first["images"]) == ({"name": "mnist", "version": "1"}, 5)
    accuracy = first["scores"]["class_accuracy"]
    assert (accuracy["value"], accuracy["right"], accuracy["images"]) == (0.6, 3, 5)
    assert first["classes"]["dog"]["recall"] == {"value": None, "interval": [0, 1], "right": 0, "images": 0}
    assert first["confusion"] == [[1, 1, 1], [0, 0, 0], [0, 0, 2]]
    page = (out / "report.html").read_text()
    assert NO_SAMPLE in page
    assert "60.00%" in page
    assert "<b> 1" not in page
    assert "&lt;b&gt; 1" in page
    assert "<i>" not in page
    assert not re.search(r"https?://", page)
    # There are two plots of two models, light and dark.
    assert page.count("data:image/png;base64,") == 8


@pytest.mark.usefixtures("quick_plots")
def test_scores_follow_from_the_lines(tmp_path: Path) -> None:
    path, out = write(tmp_path / "told.sqlite"), tmp_path / "report"
    assert evaluate(f"--feedback={path}", "--out", out) == DONE
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["true_class"], row["guess"], row["coarse"]) for row in rows] == [(r[0], r[1], r[3]) for r in ROWS]
    assert [row["abstain"] for row in rows] == [str(int(r[4])) for r in ROWS]
    assert rows[1]["answered"] == "1970-01-01T00:00:01.000+00:00"
    assert math.isclose(float(rows[2]["guess_probability"]), 0.6)


@pytest.mark.usefixtures("quick_plots")
def test_only_an_earlier_report_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write(tmp_path / "told.sqlite"), tmp_path / "report"
    assert [evaluate("--feedback", path, "--out", out) for _ in range(2)] == [DONE, DONE]
    (out / "mine.txt").touch()
    assert evaluate("--feedback", path, "--out", out) == WRONG_INPUT
    assert "is not an earlier report, as it holds mine.txt" in capsys.readouterr().err
    (tmp_path / "text").write_text("no database, but long enough to be one " * 9)
    for name, says in (("none", "There is no file"), ("text", "file is not a database")):
        assert evaluate("--feedback", tmp_path / name, "--out", tmp_path / "new") == WRONG_INPUT
        assert says in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_it_goes_with_no_other_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate("--feedback", "a", "--out", "b", "--bundle", "c")
    assert "unrecognized arguments: --bundle c" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate("--help")
    assert "clustnet evaluate --feedback feedback.sqlite" in capsys.readouterr().out
