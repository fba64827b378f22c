"""Older papers' protocol: trained without labels on MNIST's training and test images together, scored on all 70,000.

Its scores say nothing about new images; they are only for comparison with papers. Seeds that are in the folder already
are not trained again.

    python -m benchmarks.train_and_test configs/mnist_dec.yaml --seeds 0 1 2 3 4
"""

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from benchmarks.deep_clustering import read_rows
from benchmarks.inference import processor
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from clustnet.files import write_table
from clustnet.scores.scores import clustering_scores
from training.data.data import hide_fine_labels, load_split
from training.methods.deep_clustering.config import DeepClusteringRecipe
from training.methods.deep_clustering.method import DeepClusteringMethod
from training.models.inference import route
from training.recipe.reading import read_recipe
from training.recipe.recipe import Data
from training.reports.clustering_report import over_seeds
from training.runs.loop import EpochProgress
from training.runs.run_folder import Row


def main() -> None:
    """Train what is missing and print the line of all seeds."""
    parser = argparse.ArgumentParser("benchmarks.train_and_test", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("runs/train_and_test"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{options.recipe.stem}.csv"
    rows = read_rows(file)
    for seed in options.seeds:
        if not any(int(row["seed"]) == seed for row in rows):
            rows.append(measured(options.recipe, seed))
            write_table(file, rows)
    device = Accelerator().device.type
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {device}; {rows[0]['images']} training and test images")
    cells = " | ".join(over_seeds([float(row[score]) for row in rows]) for score in ("accuracy", "nmi", "ari"))
    print(f"| {options.recipe.stem}, train + test | {cells} | {len(rows)} |")


def measured(recipe: Path, seed: int) -> Row:
    """Train with one seed and return its scores on the images that it was trained on."""
    settings = read_recipe(recipe, {"seed": seed})
    if not isinstance(settings, DeepClusteringRecipe):
        raise UserError(f"{recipe} is not a recipe of deep_clustering; name one that is.")
    everything = together(settings.data)
    method = DeepClusteringMethod(hide_fine_labels(everything), settings, Accelerator())
    for losses in method.run(0, EpochProgress(0, method.epochs)):
        print(losses, flush=True)
    clusters = route(method.model, everything.images, hard=False).routing.argmax(axis=1)
    return {"seed": seed, "images": len(everything)} | clustering_scores(clusters, everything.fine)


def together(data: Data) -> LabelledImages:
    """Return the images of both splits as one."""
    train, test = load_split(data, "train"), load_split(data, "test")
    if test is None:
        raise UserError("The data have no test split; name a recipe of data that have one.")
    images = np.concatenate([train.images, test.images])
    coarse, fine = np.concatenate([train.coarse, test.coarse]), np.concatenate([train.fine, test.fine])
    return replace(train, images=images, coarse=coarse, fine=fine)


if __name__ == "__main__":
    main()
