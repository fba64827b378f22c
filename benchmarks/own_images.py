"""``clustnet discover`` on sets whose classes are known: what it finds inside the true coarse label of test images.

The images of a set are written as files, in one folder for each coarse label. The real command is given the number of
subtypes of each label, but no fine class. On the test images, the subtypes of a label are then matched one to one with
its classes by the Hungarian algorithm. k-means, and UMAP with a Gaussian mixture, get the same numbers and the same
space. The last score ignores the gate: the subtype of an image is the expert that is surest of its true coarse label.

    python -m benchmarks.own_images cifar10:FILE tiny-imagenet:FILE coil20:FILE notmnist:FOLDER --seeds 0..2

A row has the mean +- sample standard deviation (worst) over the seeds. Minutes and memory are those of the command; the
embeddings are shared by the seeds, so the first one's minutes count.
"""

import argparse
import io
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from benchmarks.inference import processor
from clustnet.datasets import load_named
from clustnet.encoders import open_encoder
from clustnet.encoders.cache import EmbeddingCache, Key
from clustnet.errors import UserError
from clustnet.scores.tables import matched_share
from training.clustering.manifold import manifold
from training.commands.sweep import parse_seeds
from training.discover.clustering import voted
from training.discover.collection import Collection
from training.discover.embedding import EMBEDDINGS
from training.discover.subtypes import read_subtypes
from training.models.mixture import coarse_probability
from training.reports.clustering_report import over_seeds
from training.runs.run_folder import RunFolder

TRAIN, TEST = "train", "test"
# Neighbours for UMAP, and starts of the clusterings.
NEIGHBOURS, STARTS = 20, 10

Labels = NDArray[np.int64]


class Pictures(NamedTuple):
    """A set as files.

    Args:
        content: the bytes of each image file, PNG or JPEG.
        fine: int64 [N], the class of each image.
        train: bool [N], whether each is a training image.
        labels: the classes of each coarse label.
        scored: the coarse labels that are scored.
    """

    content: Sequence[bytes]
    fine: Labels
    train: NDArray[np.bool_]
    labels: Mapping[str, Sequence[int]]
    scored: Sequence[str]


def cifar10(path: Path) -> Pictures:
    """Return the first 1,000 training images of each class and all test images of CIFAR-10 (JPEG copy)."""
    with np.load(path) as arrays:
        fine, offset, jpeg = (arrays[name] for name in ("label", "offset", "jpeg"))
    train = np.arange(len(fine)) < 50_000
    first = np.concatenate([np.flatnonzero(train & (fine == label))[:1000] for label in range(10)])
    chosen = np.concatenate([np.sort(first), np.flatnonzero(~train)])
    labels = {"animals": [2, 3, 4, 5, 6, 7], "vehicles": [0, 1, 8, 9]}
    return Pictures(_files(jpeg, offset, chosen), fine[chosen], train[chosen], labels, tuple(labels))


def tiny_imagenet(path: Path) -> Pictures:
    """Return the animals of the Tiny ImageNet subset: canines, felines and others; the first two are scored."""
    with np.load(path) as arrays:
        fine, offset, jpeg, group, val = (arrays[name] for name in ("label", "offset", "jpeg", "group", "is_val"))
    chosen = np.flatnonzero(group[fine] > 0)
    labels = {name: np.flatnonzero(group == number).tolist() for name, number in (("canine", 2), ("feline", 3))}
    labels["other"] = np.flatnonzero(group == 1).tolist()
    return Pictures(_files(jpeg, offset, chosen), fine[chosen], val[chosen] == 0, labels, ("canine", "feline"))


def coil20(path: Path) -> Pictures:
    """Return COIL-20; every fourth pose is a test image."""
    with np.load(path) as arrays:
        images, fine, pose = arrays["X"], arrays["object_id"].astype(np.int64) - 1, arrays["pose"]
    labels = {"objects 1-10": range(10), "objects 11-20": range(10, 20)}
    return Pictures([_png(image) for image in images], fine, pose % 4 != 0, labels, tuple(labels))


def notmnist(path: Path) -> Pictures:
    """Return notMNIST, the letters A to E and F to J."""
    return _halves("notmnist", path, ("A-E", "F-J"))


def mnist(path: Path) -> Pictures:
    """Return MNIST, the digits 0 to 4 and 5 to 9, which shows how memory grows with the images."""
    return _halves("mnist", path, ("0-4", "5-9"))


def _halves(name: str, path: Path, labels: tuple[str, str]) -> Pictures:
    """Return a set of ten classes, the first five under one coarse label."""
    parts = [load_named(name, split, path) for split in (TRAIN, TEST)]
    images, fine = np.concatenate([part.images for part in parts]), np.concatenate([part.fine for part in parts])
    classes = dict(zip(labels, (range(5), range(5, 10)), strict=True))
    return Pictures([_png(image) for image in images], fine, np.arange(len(fine)) < len(parts[0]), classes, labels)


SETS: dict[str, Callable[[Path], Pictures]] = {
    "mnist": mnist,
    "cifar10": cifar10,
    "tiny-imagenet": tiny_imagenet,
    "coil20": coil20,
    "notmnist": notmnist,
}


class Cost(NamedTuple):
    """What the command took.

    Args:
        minutes: minutes by the clock.
        cpu: minutes of processor time.
        memory: peak memory in MB, without files that are mapped into memory.
    """

    minutes: float
    cpu: float
    memory: float


def main() -> None:
    """Run what is missing and print a row for each set."""
    parser = argparse.ArgumentParser("benchmarks.own_images", description=__doc__)
    parser.add_argument("sets", nargs="+", metavar="SET:PATH", help=f"SET is {', '.join(SETS)}")
    parser.add_argument("--seeds", default="0..2", help="FIRST..LAST or A,B,C (default: 0..2)")
    parser.add_argument("--encoder", default="auto", help="as of 'clustnet discover' (default: auto)")
    parser.add_argument("--images", type=int, help="training images at most, the first of them (default: all)")
    parser.add_argument("--out", type=Path, default=Path("runs/own_images"), help="of images and runs")
    options = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, seeds {options.seeds}, test images\n", flush=True)
    columns = ("set", "train / test", "compared by", *SCORES, "minutes", "CPU minutes", "MB")
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    for spec in options.sets:
        name, _, path = spec.partition(":")
        if name not in SETS:
            parser.error(f"There is no set {name!r}; choose of {', '.join(SETS)}.")
        try:
            pictures = first(SETS[name](Path(path or "data/mnist")), options.images)
            folder = options.out / (f"{name}_{options.images}" if options.images else name)
            print(_row(name, pictures, parse_seeds(options.seeds), options.encoder, folder), flush=True)
        except UserError as error:
            parser.error(str(error))


def first(pictures: Pictures, images: int | None) -> Pictures:
    """Return a set with only its first training images, and all test images; the whole set for None."""
    if images is None:
        return pictures
    kept = np.sort(np.concatenate([np.flatnonzero(pictures.train)[:images], np.flatnonzero(~pictures.train)]))
    content = [pictures.content[place] for place in kept.tolist()]
    return pictures._replace(content=content, fine=pictures.fine[kept], train=pictures.train[kept])


def _row(name: str, pictures: Pictures, seeds: Sequence[int], encoder: str, folder: Path) -> str:
    """Run a set with all seeds and return its row."""
    fine = dict(written(pictures, folder / "images"))
    found, costs = [], []
    for seed in seeds:
        run = folder / f"{encoder.replace(',', '_')}_seed{seed}"
        costs.append(_discover(pictures, folder, run, encoder, seed))
        found.append(accuracies(run, fine, pictures, seed))
        print(f"<!-- {name} seed {seed}: {found[-1]} {costs[-1]} -->", flush=True)
    sizes = f"{pictures.train.sum():,} / {(~pictures.train).sum():,}"
    scores = [over_seeds([row[score] for row in found]) for score in SCORES]
    cost = costs[0]
    shown = [name, sizes, compared_by(run), *scores, f"{cost.minutes:.1f}", f"{cost.cpu:.1f}", f"{cost.memory:.0f}"]
    return f"| {' | '.join(shown)} |"


def written(pictures: Pictures, folder: Path) -> Iterator[tuple[str, int]]:
    """Write the files of a set unless they are there; yield their names with their classes."""
    label_of = {fine: label for label, classes in pictures.labels.items() for fine in classes}
    for number, (content, fine) in enumerate(zip(pictures.content, pictures.fine.tolist(), strict=True)):
        split, ending = TRAIN if pictures.train[number] else TEST, "png" if content[1:4] == b"PNG" else "jpg"
        name = f"{split}/{label_of[fine]}/{number:06}.{ending}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).write_bytes(content)
        yield name, fine


def _discover(pictures: Pictures, folder: Path, run: Path, encoder: str, seed: int) -> Cost:
    """Run the command and return what it took, next to nothing if it was run before."""
    subtypes = ",".join(f"{label}={len(classes)}" for label, classes in pictures.labels.items())
    words = ["discover", str(folder / "images"), "--out", str(run), "--cache", str(folder / "embeddings")]
    words += ["--subtypes", subtypes, "--encoder", encoder, "--seed", str(seed)]
    began, most = time.monotonic(), 0
    with subprocess.Popen([sys.executable, "-m", "clustnet", *words], stdout=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        spent = watched.cpu_times()
        while process.poll() is None:
            try:
                # Pages of mapped files are not counted, as the system takes them back when it needs them.
                memory = watched.memory_info()
                most, spent = max(most, memory.rss - memory.shared), watched.cpu_times()
            except psutil.NoSuchProcess:
                break
            time.sleep(0.2)
    if process.returncode:
        raise UserError(f"clustnet {' '.join(words)} failed.")
    return Cost((time.monotonic() - began) / 60, (spent.user + spent.system) / 60, most / 1e6)


SCORES = ("trained model", "clusters", "k-means", "UMAP + mixture", "experts alone")


def accuracies(run: Path, fine: Mapping[str, int], pictures: Pictures, seed: int) -> dict[str, float]:
    """Return the accuracy inside the true coarse labels that are scored, of the run and of its rivals.

    Args:
        run: run of ``clustnet discover``.
        fine: the class of each file.
        pictures: the set.
        seed: seeds the rivals.
    """
    found = Collection.of(run)
    names = {row.file: row.subtype for row in read_subtypes(run / "subtypes.csv")}
    trained = np.unique([names[image.file] for image in found.images], return_inverse=True)[1]
    experts = experts_alone(run, found)
    truth, space, clusters = np.array([fine[image.file] for image in found.images]), found.space, found.clusters
    right, images = dict.fromkeys(SCORES, 0.0), 0
    for label in pictures.scored:
        number, count = found.labels.index(label), len(pictures.labels[label])
        train, test = found.inside(number, True), found.inside(number, False)
        rivals = {"k-means": _k_means, "UMAP + mixture": _umap_mixture}
        guesses = {"trained model": trained[test], "clusters": clusters[test]}
        guesses |= {name: rival(space[train], space[test], count, seed) for name, rival in rivals.items()}
        guesses |= {"experts alone": experts[test]}
        images += len(test)
        for name, guess in guesses.items():
            right[name] += len(test) * matched(guess, truth[test])
    return {name: value / images for name, value in right.items()}


def experts_alone(run: Path, found: Collection) -> Labels:
    """Return for each image the expert that is surest of its coarse label, int64 [N], without the gate.

    This replaces the routing. If the experts knew the subtypes by themselves, it would match them as well.
    """
    network = RunFolder.kept(run).load_network()
    encoder = RunFolder.kept(run).recipe().encoder
    if encoder is None:
        return np.zeros(len(found.images), np.int64)
    cache = EmbeddingCache(run / EMBEDDINGS, open_encoder(encoder.name).spec)
    rows = torch.from_numpy(cache.rows([Key(bytes.fromhex(image.sha256)) for image in found.images]))
    with torch.no_grad():
        probability = coarse_probability(network(rows).expert_logit).numpy()
    surest: Labels = probability[np.arange(len(rows)), :, found.coarse].argmax(axis=1)
    return surest


def matched(clusters: Labels, fine: Labels) -> float:
    """Return the share of images in the class that the best one-to-one matching gives their cluster."""
    table = np.zeros((int(fine.max()) + 1, int(clusters.max()) + 1), np.int64)
    np.add.at(table, (fine, clusters), 1)
    return matched_share(table)


def _k_means(rows: NDArray[np.float32], others: NDArray[np.float32], count: int, seed: int) -> Labels:
    found: Labels = KMeans(count, n_init=STARTS, random_state=seed).fit(rows).predict(others).astype(np.int64)
    return found


def _umap_mixture(rows: NDArray[np.float32], others: NDArray[np.float32], count: int, seed: int) -> Labels:
    places = manifold(rows, NEIGHBOURS, seed).astype(np.float64)
    mixture = GaussianMixture(count, n_init=STARTS, random_state=seed).fit_predict(places)
    return voted(rows, mixture.astype(np.int64), others)


def compared_by(run: Path) -> str:
    """Return the representations whose weight in a run is not 0."""
    lines = (run / "clusters" / "representations.csv").read_text().splitlines()[1:]
    return ", ".join(name for name, _, weight in (line.split(",") for line in lines) if float(weight) > 0)


def _files(jpeg: NDArray[np.uint8], offset: NDArray[np.int64], chosen: Labels) -> list[bytes]:
    return [jpeg[offset[place] : offset[place + 1]].tobytes() for place in chosen.tolist()]


def _png(image: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


if __name__ == "__main__":
    main()
