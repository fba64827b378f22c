"""Which images are for training, validation and testing: ``splits.csv``, which another run can use again."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clustnet.datasets.folder_layout import TEST, TRAIN
from clustnet.errors import UserError
from clustnet.files import shown, write_table
from training.grow.config import Splits
from training.grow.hierarchy import Labels, name_of
from training.grow.sources import Item

SPLITS_FILE = "splits.csv"
VALIDATION = "validation"
NAMES = (TRAIN, VALIDATION, TEST)


def split_of(items: Sequence[Item], splits: Splits, file: Path | None, seed: int) -> list[str]:
    """Return the split of each image: as a file says, or drawn with a seed, class by class.

    Args:
        items: the images; those in the data's test split stay there.
        splits: shares, and whether a file's training and validation images are drawn again.
        file: a ``splits.csv``, or None.
        seed: seeds the draw.

    Raises:
        UserError: the file lists none of the images, or a class has too few images for all splits.
    """
    given = {} if file is None else _given(items, file, splits.redraw)
    by_class: dict[Labels, list[int]] = {}
    for place, item in enumerate(items):
        by_class.setdefault(item.labels, []).append(place)
    generator = np.random.default_rng(seed)
    found = [""] * len(items)
    has_test = any(item.test for item in items)
    for labels in sorted(by_class):
        drawn = _drawn([items[place] for place in by_class[labels]], given, splits, has_test, generator)
        _check_filled(labels, drawn)
        for place, split in zip(by_class[labels], drawn, strict=True):
            found[place] = split
    return found


def _given(items: Sequence[Item], file: Path, redraw: bool) -> dict[str, str]:
    """Return the splits that a file gives the images it lists; with ``redraw``, only those of its test images."""
    listed = read_splits(file)
    given = {item.name: listed[item.name] for item in items if item.name in listed}
    if not given:
        raise UserError(f"{shown(file)} lists none of the images; name the file of a run on the same images.")
    return {name: split for name, split in given.items() if split == TEST or not redraw}


def _drawn(
    members: Sequence[Item],
    given: Mapping[str, str],
    splits: Splits,
    has_test: bool,
    generator: np.random.Generator,
) -> list[str]:
    """Return the splits of one class: the given ones, and a draw for the rest.

    Validation, and test unless the data have a test split, get at least one image.
    """
    found = [TEST if item.test else given.get(item.name, "") for item in members]
    free = [place for place, split in enumerate(found) if not split]
    order = [free[index] for index in generator.permutation(len(free))]
    tests = 0 if has_test or TEST in found else max(1, round(splits.test * len(free)))
    rest = len(free) - tests
    validations = max(1, round(splits.validation * rest)) if VALIDATION not in found else 0
    for number, place in enumerate(order):
        found[place] = TEST if number < tests else VALIDATION if number < tests + validations else TRAIN
    return found


def _check_filled(labels: Labels, splits: Sequence[str]) -> None:
    missing = [name for name in NAMES if name not in splits]
    if missing:
        raise UserError(
            f"The class {name_of(labels)!r} has {len(splits)} images, which leaves none for {' and '.join(missing)}; "
            "add some, or remove the class."
        )


def write_splits(path: Path, items: Sequence[Item], splits: Sequence[str]) -> None:
    """Write the manifest: file, labels and split of each image."""
    rows = zip(items, splits, strict=True)
    write_table(path, [{"file": item.name, "label": name_of(item.labels), "split": split} for item, split in rows])


def read_splits(path: Path) -> dict[str, str]:
    """Return the split of each file that a manifest lists.

    Raises:
        UserError: the manifest cannot be read, or is not a table of splits.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(row["file"], row["split"]) for row in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be read ({error.strerror}); name the splits.csv of a run.") from None
    except (KeyError, UnicodeDecodeError, csv.Error):
        raise UserError(f"{shown(path)} is not a table with the columns file and split; name a splits.csv.") from None
    wrong = next((split for _, split in rows if split not in NAMES), None)
    if wrong is not None:
        raise UserError(f"{shown(path)} has the split {wrong!r}; a split is {', '.join(NAMES)}.")
    return dict(rows)
