import io

import pytest

from evaluation.commands import progress
from evaluation.commands.progress import show_batches


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(show_batches(range(0, 1000, 256))) == [0, 256, 512, 768]
    lines = ["256 of 1000 images", "512 of 1000 images", "768 of 1000 images", "1000 of 1000 images"]
    assert capsys.readouterr().err.splitlines() == lines


def test_at_most_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(show_batches(range(0, 60_000, 256), "outliers"))) == 235
    lines = capsys.readouterr().err.splitlines()
    assert (len(lines), lines[-1]) == (10, "60000 of 60000 outliers")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    assert list(show_batches(range(0, 300, 256))) == [0, 256]
    assert "300/300" in terminal.getvalue()
