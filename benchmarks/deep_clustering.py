"""Deep clustering beside its peers: the same MNIST training images, the same test images, one core, no labels.

scikit-learn's k-means, Gaussian mixture and spectral clustering on pixels and on 50 principal components; ClustPy's
DEC, IDEC and DCN with its own defaults (``make .venv/peers/clustpy``); and ``clustnet train``, all included, with
the recipes ``mnist_dec`` and ``mnist_dcn``. Where one pre-training serves several methods its seconds count for each.
Seconds are the CPU's, so that other work on the machine matters little. Rows that the file has are not measured again.

    python -m benchmarks.deep_clustering --seeds 5 --out runs/side_by_side
"""

import argparse
import csv
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from benchmarks.inference import processor
from clustnet.datasets import LabelledImages, load
from clustnet.files import write_table
from clustnet.scores.scores import clustering_scores
from training.reports.clustering_report import over_seeds
from training.runs.run_folder import RunFolder

COMPONENTS = 50
# Starts of k-means, as in the recipes.
STARTS = 10
# Multiplies the recipes' epochs, which are for six times as many images.
EPOCHS = 3
RECIPES = {"kl": "configs/mnist_dec.yaml", "kmeans": "configs/mnist_dcn.yaml"}
CLUSTPY = Path("benchmarks/peers/clustpy_methods.py")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
RECIPE_EPOCHS = {"pretraining.epochs": 15, "optimisation.epochs": 10, "clustering.imitation": 2}
LOSSES = {"kl": "KL divergence", "kmeans": "k-means loss"}

Integers = NDArray[np.integer]
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """The input of every method: images, the seed, its own folder, and the Python of ClustPy's environment."""

    train: LabelledImages
    test: LabelledImages
    seed: int
    folder: Path
    clustpy: Path

    @property
    def clusters(self) -> int:
        """The number of clusters, which is that of the classes."""
        return len(self.train.classes)


class Found(NamedTuple):
    """What one method found: a cluster for each image of one split, and CPU seconds."""

    method: str
    split: str
    clusters: Integers
    seconds: float


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser("benchmarks.deep_clustering", description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="training images")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--clustpy", type=Path, default=Path(".venv/peers/clustpy/bin/python"))
    parser.add_argument("--out", type=Path, default=Path("runs/side_by_side"))
    options = parser.parse_args()
    train, test = load("mnist:train").first(options.images), load("mnist:test")
    file = options.out / "side_by_side.csv"
    rows = read_rows(file)
    for seed in range(options.seeds):
        task = Task(train, test, seed, options.out / f"seed_{seed}", options.clustpy.absolute())
        for name in options.only:
            if not any(row["family"] == name and int(row["seed"]) == seed for row in rows):
                rows += measured(name, task)
                write_table(file, rows)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, one core; {len(train):,} training, {len(test):,} test images\n"
    )
    print(table(rows))


def read_rows(file: Path) -> list[Row]:
    """Return the rows measured before."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as content:
        return list(csv.DictReader(content))


def measured(family: str, task: Task) -> list[Row]:
    """Run one family of methods with one seed and return a row for each method."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with threadpool_limits(1):
        return [scored(family, found, task) for found in FAMILIES[family](task)]


def scored(family: str, found: Found, task: Task) -> Row:
    """Return the row of a method: its clusters scored against the classes of their split."""
    truth = (task.test if found.split == "test" else task.train).fine
    row = {"family": family, "method": found.method, "seed": task.seed, "scored": found.split}
    return row | clustering_scores(found.clusters, truth) | {"seconds": found.seconds}


def representations(task: Task) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32], float]]:
    """Yield name, training rows and test rows of pixels and principal components, and the seconds these took."""
    train, test = flat(task.train), flat(task.test)
    yield "pixels", train, test, 0.0
    began = time.process_time()
    components = PCA(COMPONENTS, random_state=task.seed).fit(train)
    reduced = components.transform(train), components.transform(test)
    yield f"PCA-{COMPONENTS}", *reduced, time.process_time() - began


def flat(split: LabelledImages) -> NDArray[np.float32]:
    """Return images as rows, float32 [N, pixels], 0 to 1."""
    return split.images.reshape(len(split), -1).astype(np.float32) / np.float32(255)


def k_means(task: Task) -> Iterator[Found]:
    """Run scikit-learn's k-means."""
    for name, train, test, seconds in representations(task):
        began = time.process_time()
        found = KMeans(task.clusters, n_init=STARTS, random_state=task.seed).fit(train).predict(test)
        yield Found(f"k-means, {name}", "test", found, seconds + time.process_time() - began)


def gaussian_mixture(task: Task) -> Iterator[Found]:
    """Run scikit-learn's Gaussian mixture with full covariances, its default."""
    for name, train, test, seconds in representations(task):
        began = time.process_time()
        found = GaussianMixture(task.clusters, random_state=task.seed).fit(train).predict(test)
        yield Found(f"Gaussian mixture, {name}", "test", found, seconds + time.process_time() - began)


def spectral(task: Task) -> Iterator[Found]:
    """Run scikit-learn's spectral clustering of nearest neighbours, which cannot predict other images."""
    for name, train, _, seconds in representations(task):
        began = time.process_time()
        method = SpectralClustering(task.clusters, affinity="nearest_neighbors", random_state=task.seed)
        found = method.fit_predict(train)
        yield Found(f"spectral clustering, {name}", "train", found, seconds + time.process_time() - began)


def clustpy(task: Task) -> Iterator[Found]:
    """Run ClustPy's methods in their own environment."""
    images = task.folder / "images.npz"
    np.savez(images, train=flat(task.train), test=flat(task.test), clusters=task.clusters)
    run([str(task.clustpy), str(CLUSTPY), str(images), str(task.folder), str(task.seed)])
    for name in ("DEC", "IDEC", "DCN"):
        with np.load(task.folder / f"{name}.npz") as arrays:
            yield Found(f"ClustPy {name}", "test", arrays["found"], float(arrays["seconds"]))


def clustnet(task: Task) -> Iterator[Found]:
    """Run the recipes of this project, from one pre-training."""
    for loss in LOSSES:
        # A benchmark that was stopped may have left it.
        shutil.rmtree(task.folder / loss, ignore_errors=True)
    first = task.folder / "kl"
    before = run(train_words(task, "kl", "pretrain", first))
    for loss, more in {"kl": [], "kmeans": ["--pretrained", str(first)]}.items():
        out = task.folder / loss
        seconds = before + run([*train_words(task, loss, "cluster", out), *more])
        yield Found(f"ClustNet, {LOSSES[loss]}", "test", last_clusters(out), seconds)


def train_words(task: Task, loss: str, stage: str, out: Path) -> list[str]:
    """Return the command that trains one stage."""
    keys = {"data.train_images": len(task.train)} | {key: EPOCHS * value for key, value in RECIPE_EPOCHS.items()}
    words = [f"--{key}={value}" for key, value in keys.items()]
    command = [sys.executable, "-m", "clustnet", "train", RECIPES[loss], "--seed", str(task.seed), "--out", str(out)]
    return [*command, "--stage", stage, *words]


def last_clusters(out: Path) -> Integers:
    """Return the cluster of each test image after a run's last epoch."""
    path = out / "images" / f"epoch_{RunFolder(out).last_epoch():03}_test.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in rows[0] if name.startswith("routing_")]
    routing = np.array([[float(row[name]) for name in columns] for row in rows])
    return np.asarray(routing.argmax(axis=1))


def run(command: Sequence[str]) -> float:
    """Run a command with one thread and return its CPU seconds."""
    before = children_seconds()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | dict.fromkeys(THREADS, "1"))
    return children_seconds() - before


def children_seconds() -> float:
    """Return the CPU seconds of all commands that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


FAMILIES: dict[str, Callable[[Task], Iterator[Found]]] = {
    "k-means": k_means,
    "gaussian-mixture": gaussian_mixture,
    "spectral": spectral,
    "clustpy": clustpy,
    "clustnet": clustnet,
}


def table(rows: Sequence[Row]) -> str:
    """Return the table over all seeds: the mean and, for several seeds, the standard deviation and the worst."""
    lines = ["| method | scored on | accuracy | NMI | ARI | CPU seconds | seeds |", "|---|---|---|---|---|---|---|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        cells = [over_seeds([float(row[key]) for row in own]) for key in ("accuracy", "nmi", "ari")]
        seconds = f"{np.mean([float(row['seconds']) for row in own]):,.0f}"
        lines.append(f"| {method} | {own[0]['scored']} | {' | '.join(cells)} | {seconds} | {len(own)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
