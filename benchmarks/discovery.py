"""The discovery recipes on data that they were not tuned for: all, few or unbalanced images of MNIST, and other sets.

Every set is trained by its ``configs/NAME_discovery.yaml`` with some seeds, into run folders that are kept, so that the
same command goes on where it was stopped. The table has a row for each set: mean +- sample standard deviation (worst)
of the final scores of the test split, and the minutes of training a seed.

    python -m benchmarks.discovery mnist mnist_12000 mnist_unbalanced mnist_rare mnist_long_tail \
        notmnist:FOLDER coil20:FILE cifar10_5000:FILE --seeds 0..2
"""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.inference import processor
from clustnet.errors import UserError
from training.commands.sweep import parse_seeds
from training.recipe.reading import read_recipe
from training.reports.clustering_report import over_seeds
from training.runs.restarts import train_restarts, train_seconds
from training.runs.run_folder import RunFolder

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# The recipe of each set, and the keys that are set on top of it.
# The recipe of MNIST has as many experts as classes; the other recipes have these.
TWENTY = {"model.experts": 20, "optimisation.average_over": 0.1, "optimisation.epoch_steps": 100}
# Training images of each digit: classes of 2 % to 17 %; one class of 1 %; each class half as large as the one before.
UNBALANCED = [1937, 247, 1585, 1258, 2004, 697, 499, 2057, 307, 1409]
RARE = [1485, 60, 1485, 1485, 1485, 1200, 1200, 1200, 1200, 1200]
LONG_TAIL = [3096, 1548, 774, 387, 195, 3096, 1548, 774, 387, 195]
# What the recipe is compared with: experts get the partition's shares.
VARIANTS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "shares": {"loss.shares": "partition"},
}
SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "mnist": ("mnist", TWENTY),
    "mnist_12000": ("mnist", TWENTY | {"data.train_images": 12_000}),
    "mnist_1000": ("mnist", TWENTY | {"data.train_images": 1000}),
    "mnist_unbalanced": ("mnist", TWENTY | {"data.train_counts": UNBALANCED}),
    "mnist_rare": ("mnist", TWENTY | {"data.train_counts": RARE}),
    "mnist_long_tail": ("mnist", TWENTY | {"data.train_counts": LONG_TAIL}),
    "notmnist": ("notmnist", {}),
    "coil20": ("coil20", {}),
    "cifar10": ("cifar10", {}),
    "cifar10_5000": ("cifar10", {"data.train_images": 5000}),
}
SCORES = ("class_accuracy", "purity", "cells_in_use", "cell_accuracy", "coarse_accuracy", "label_free/score")


def main() -> None:
    """Train what is missing and print a row for each set."""
    parser = argparse.ArgumentParser("benchmarks.discovery", description=__doc__)
    parser.add_argument(
        "sets", nargs="+", metavar="SET[:PATH]", help=f"{', '.join(SETS)}; PATH of other data than MNIST"
    )
    parser.add_argument("--seeds", default="0..2", help="FIRST..LAST or A,B,C (default: 0..2)")
    parser.add_argument("--variant", choices=VARIANTS, default="recipe", help="keys of the loss (default: recipe)")
    parser.add_argument("--out", type=Path, default=Path("runs/discovery"), help="of the runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, 1 thread, seeds {options.seeds}, {options.variant}, test split"
    )
    print("\n| set | " + " | ".join(SCORES) + " | minutes | seeds |\n" + "|---" * (len(SCORES) + 3) + "|", flush=True)
    for spec in options.sets:
        name, _, path = spec.partition(":")
        try:
            print(_row(name, path, parse_seeds(options.seeds), options), flush=True)
        except UserError as error:
            parser.error(str(error))


def keys_of(name: str, path: str, seed: int, variant: str = "recipe") -> tuple[Path, Mapping[str, Any]]:
    """Return the recipe of a set, and the keys of the set and the variant that override the recipe's.

    Raises:
        UserError: there is no such set.
    """
    if name not in SETS:
        raise UserError(f"There is no set {name!r}; choose of {', '.join(SETS)}.")
    recipe, keys = SETS[name]
    keys = keys | VARIANTS[variant] | ({"data.path": path} if path else {}) | {"seed": seed}
    return CONFIGS / f"{recipe}_discovery.yaml", keys


def _row(name: str, path: str, seeds: Sequence[int], options: argparse.Namespace) -> str:
    """Train a set with all seeds and return its row."""
    finals, minutes = [], []
    for seed in seeds:
        config, keys = keys_of(name, path, seed, options.variant)
        variant = "" if options.variant == "recipe" else f"_{options.variant}"
        folder = options.out / f"{name}{variant}_seed{seed}"
        finals.append(train_restarts(read_recipe(config, dict(keys)), folder, resume=RunFolder(folder).exists())[-1])
        minutes.append(train_seconds(folder) / 60)
    shown = [over_seeds([row[score] for row in finals]) for score in SCORES]
    return f"| {name} | {' | '.join(shown)} | {np.mean(minutes):.1f} | {len(seeds)} |"


if __name__ == "__main__":
    main()
