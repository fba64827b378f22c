"""Progress off a terminal: a line now and then, with the time left."""

import pytest

from training.discover import progress


def test_lines_say_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    assert list(progress.show(range(4), [10] * 4, "embed")) == [0, 1, 2, 3]
    assert capsys.readouterr().err.splitlines() == [
        "embed: 10 of 40 images, 1 min 0 s left",
        "embed: 20 of 40 images, 40 s left",
        "embed: 30 of 40 images, 20 s left",
    ]


def test_short_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.show("ab", [1, 1], "read")) == ["a", "b"]
    assert capsys.readouterr().err == ""
