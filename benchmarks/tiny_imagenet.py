"""The subset of Tiny ImageNet as nested class folders, for ``clustnet grow``.

::

    python -m benchmarks.tiny_imagenet FOLDER_OF_THE_SUBSET OUT

    OUT/whole/train|test/animal/canine/CLASS/*.jpg    animal or not, canine, feline or another animal, and the kinds
    OUT/finest/train|test/canine/CLASS/*.jpg          dogs and cats alone
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clustnet.files import replacing_folder

# By the number of the group; other animals, and images without one, are classes themselves.
GROUPS = ("not_animal", "animal/other", "animal/canine", "animal/feline")
FINER = ("animal/canine", "animal/feline")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(description="Write the subset of Tiny ImageNet as nested class folders.")
    parser.add_argument("subset", type=Path, help="the folder of tiny_imagenet_subset.npz and classes.tsv")
    parser.add_argument("out", type=Path, help="the folder to write")
    options = parser.parse_args(arguments)
    with np.load(options.subset / "tiny_imagenet_subset.npz", allow_pickle=False) as archive:
        jpeg, offset, label = archive["jpeg"], archive["offset"], archive["label"]
        is_test, group = archive["is_val"], archive["group"]
    names = _names(options.subset / "classes.tsv")
    with replacing_folder(options.out) as folder:
        for image, number in enumerate(label.tolist()):
            split, place = ("train", "test")[int(is_test[image])], GROUPS[group[number]]
            content = jpeg[offset[image] : offset[image + 1]].tobytes()
            file = f"{number:03}_{image:05}.jpg"
            if place in FINER:
                place = f"{place}/{names[number]}"
                _write(folder / "finest" / split / place.removeprefix("animal/") / file, content)
            _write(folder / "whole" / split / place / file, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _names(table: Path) -> list[str]:
    """Return the first name of each class."""
    with table.open(newline="", encoding="utf-8") as file:
        return [row["name"].partition(",")[0] for row in csv.DictReader(file, delimiter="\t")]


if __name__ == "__main__":
    main()
