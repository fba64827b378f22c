"""The report's page: one file, with names that are no HTML."""

from training.discover.merges import Merge
from training.discover.reading import Problem
from training.discover.report import LISTED, Report, page
from training.discover.subtypes import Row, Summary


def _report(name: str = "a.png", suspects: int = 1) -> Report:
    row = Row(name, "train", "ok", "ok/1", "ok/1", 0.9, 0.5, 0, "bad", "b.png")
    return Report(
        title="photos",
        counts={"ok": {"train": 3, "test": 1}},
        summaries=[Summary("ok", "ok/1", 3, 0.9, "ok/2", 1.5), Summary("ok", "ok/2", 1, 0.8, "ok/1", 1.5)],
        sheets={"ok/1": b"picture"},
        merges=[Merge("ok", 1, "ok/1", "ok/2", "ok/+1", 1.5, 4, 1)],
        rows=[row] * suspects,
        problems=[Problem("c.png", "train", "ok", "is empty", "unreadable")],
        notes=["Compared by lite0."],
        commands=["clustnet export run --out models/run"],
    )


def test_a_page_shows_everything() -> None:
    text = page(_report())
    for said in ("ok/2", "data:image/jpeg;base64,", "1.50", "is empty", "Compared by lite0."):
        assert said in text
    assert "clustnet export run --out models/run" in text


def test_names_are_no_html() -> None:
    text = page(_report("<script>alert(1)</script>.png"))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_long_lists_are_cut() -> None:
    text = page(_report(suspects=LISTED + 7))
    assert f"the first {LISTED}" in text
    assert text.count("<td>bad</td>") == LISTED
