"""The arguments of a run, and that a second call must have the same."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.errors import UserError
from training.discover.arguments import Arguments, check_subtypes, parse_subtypes


@pytest.mark.parametrize(
    ("text", "counts"), [("auto", {}), ("4", {"": 4}), ("ok=3,defect=6", {"ok": 3, "defect": 6}), ("a=b=2", {"a=b": 2})]
)
def test_numbers_of_subtypes_are_read(text: str, counts: dict[str, int]) -> None:
    assert parse_subtypes(text) == counts


@pytest.mark.parametrize("text", ["", "0", "-1", "ok", "ok=", "ok=0", "=3", "ok=3,", "many"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="must be auto, a number"):
        parse_subtypes(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(UserError):
        assert all(count > 0 for count in parse_subtypes(text).values())


def test_a_number_names_a_coarse_label() -> None:
    check_subtypes({"": 3, "ok": 2}, ["bad", "ok"])
    with pytest.raises(UserError, match="has 'good', but the coarse labels are bad, ok"):
        check_subtypes({"good": 3}, ["bad", "ok"])


def test_a_second_call_has_equal_arguments(tmp_path: Path) -> None:
    run = tmp_path / "run"
    Arguments(images=Path("photos")).keep(run)
    Arguments(images=Path("photos")).keep(run)
    with pytest.raises(UserError, match="started with seed 0, but now it is 1"):
        Arguments(images=Path("photos"), seed=1).keep(run)


def test_another_folder_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        Arguments(images=Path("photos")).keep(tmp_path)
