from collections import Counter
from pathlib import Path

import pytest

from clustnet.errors import UserError
from training.grow.config import Splits
from training.grow.sources import Item
from training.grow.splits import read_splits, split_of, write_splits


def listed(count: int = 20, test: int = 0) -> list[Item]:
    return [
        Item(f"{label}/{number}.png", Path(f"{number}.png"), (label,), number < test)
        for label in ("a", "b")
        for number in range(count)
    ]


def test_shares_hold_in_each_class() -> None:
    items = listed()
    found = split_of(items, Splits(validation=0.25, test=0.2), None, seed=1)
    for label in ("a", "b"):
        counts = Counter(split for item, split in zip(items, found, strict=True) if item.labels == (label,))
        assert counts == {"train": 12, "validation": 4, "test": 4}
    assert found == split_of(items, Splits(validation=0.25, test=0.2), None, seed=1)
    assert found != split_of(items, Splits(validation=0.25, test=0.2), None, seed=2)


def test_test_images_of_the_data_stay() -> None:
    items = listed(test=5)
    found = split_of(items, Splits(), None, seed=0)
    assert [split == "test" for split in found] == [item.test for item in items]


def test_another_run_has_the_same_splits(tmp_path: Path) -> None:
    items, file = listed(), tmp_path / "splits.csv"
    found = split_of(items, Splits(), None, seed=3)
    write_splits(file, items, found)
    assert list(read_splits(file).values()) == found
    assert split_of(items, Splits(), file, seed=9) == found
    # A new image is drawn, and the others stay.
    more = [*items, *[Item(f"c/{n}.png", Path(), ("c",), False) for n in range(5)]]
    assert split_of(more, Splits(), file, seed=9)[: len(items)] == found


def test_redrawn_images_move_but_not_tests(tmp_path: Path) -> None:
    items, file = listed(), tmp_path / "splits.csv"
    before = split_of(items, Splits(), None, seed=3)
    write_splits(file, items, before)
    after = split_of(items, Splits(redraw=True, validation=0.5), file, seed=4)
    assert [split == "test" for split in before] == [split == "test" for split in after]
    assert after.count("validation") == 16
    assert before.count("validation") == 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,split\nelsewhere.png,train\n", "lists none of the images"),
        ("file,split\na/0.png,half\n", "has the split 'half'"),
        ("name\na\n", "not a table with the columns file and split"),
        (None, "cannot be read"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str | None, sentence: str) -> None:
    file = tmp_path / "splits.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=sentence):
        split_of(listed(), Splits(), file, seed=0)


def test_class_with_too_few_images() -> None:
    with pytest.raises(UserError, match="The class 'a' has 2 images, which leaves none for train"):
        split_of(listed(2), Splits(), None, seed=0)
