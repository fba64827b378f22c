"""The finest classes on the embeddings of a frozen encoder: modules that grow, and a linear probe beside them.

::

    python -m benchmarks.growing_finest configs/grow/finest.yaml --data photos/finest --out runs/finest

The probe is scikit-learn's logistic regression on the same images, one for each node.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.growing import read, spread
from clustnet.datasets.folder_layout import TEST, TRAIN
from training.grow.config import read_grow_recipe
from training.grow.data import EMBEDDINGS, GrowImages
from training.grow.growing import grow, kept
from training.grow.hierarchy import name_of
from training.grow.run import GrowRun

# Scikit-learn's default is 1, but there are more features than images of a class.
INVERSE_PENALTY = 0.01


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and print a table of accuracies on test images."""
    parser = argparse.ArgumentParser(description="Grow on an encoder's embeddings, with a linear probe beside.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", required=True, help="instead of the recipe's data.path")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args(arguments)
    for seed in options.seeds:
        run = options.out / f"seed{seed}"
        if not (run / "overall.csv").is_file():
            _share_embeddings(options.out, run)
            grow(read_grow_recipe(options.config, {"seed": seed, "data.path": options.data}), run)
    probed = [_probe(kept(GrowRun(options.out / f"seed{seed}"))[1]) for seed in options.seeds]
    summaries = [read(options.out / f"seed{seed}" / "summary.csv") for seed in options.seeds]
    print("| node | test images | grown | linear probe |\n|---|---|---|---|")
    for number, row in enumerate(summaries[0]):
        grown = [float(rows[number]["accuracy_now"]) for rows in summaries]
        cells = (spread(grown), spread([found[row["node"]] for found in probed]))
        print(f"| {row['node']} | {int(row['images']):,} | {' | '.join(cells)} |")


def _share_embeddings(out: Path, run: Path) -> None:
    """Let a run share the embeddings of the other seeds, which are the same."""
    run.mkdir(parents=True, exist_ok=True)
    (out / EMBEDDINGS).mkdir(exist_ok=True)
    if not (run / EMBEDDINGS).exists():
        (run / EMBEDDINGS).symlink_to((out / EMBEDDINGS).resolve())


def _probe(images: GrowImages) -> dict[str, float]:
    """Return the accuracy on test images of a linear probe for each node."""
    found = {}
    for node in images.hierarchy.inner:
        (train, truth), (test, true) = images.members(node, TRAIN), images.members(node, TEST)
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=1000))
        rows = torch.nn.functional.normalize(images.images).numpy()
        found[name_of(node)] = float(probe.fit(rows[train], truth).score(rows[test], true))
    return found


if __name__ == "__main__":
    main()
