"""The step ``embed``: the representations that images are compared by, computed once per image content.

::

    RUN/embeddings/    the cache of the encoders
    RUN/small/         all images at a small size
    RUN/rows/NAME.npy  float32 [N, 50], the principal components of a representation, in the order of files.csv
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from clustnet.bundles.bundle import InputSpec
from clustnet.datasets.folder import folder_input
from clustnet.datasets.folder_layout import TRAIN
from clustnet.encoders import open_encoder
from clustnet.encoders.cache import EmbeddingCache, Key
from clustnet.encoders.encoder import unit
from clustnet.files import replacing_folder
from training.discover.arguments import AUTO, EDGES, NONE, OWN, PATCHES, PIXELS
from training.discover.engines import Engine, on_threads
from training.discover.progress import show
from training.discover.reading import Image, batches
from training.discover.shards import SHARD, Done, ShardWork, Small, missing_shards, portable
from training.methods.clustnet.representations import PRINCIPAL_COMPONENTS, SMALLEST_SIDE, Patches, edges

EMBEDDINGS, SMALL, ROWS = "embeddings", "small", "rows"
LITE0 = "lite0"
# Largest side, in pixels, of the small images from which pixels, edges and patches are computed.
SMALL_SIDE = 64
# Images on which principal components are fitted.
COMPONENT_IMAGES = 5000
# Images that patches are learnt from.
PATCH_IMAGES = 1000
# Images whose features are in memory at once.
CHUNK = 1000

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Choice:
    """The representations by which images are compared.

    Args:
        encoders: names of encoders.
        own: names of representations that need no encoder.
    """

    encoders: tuple[str, ...]
    own: tuple[str, ...]


def chosen(names: Sequence[str], images: Sequence[Image], labels: int) -> Choice:
    """Return the representations that ``--encoder`` names.

    With several coarse labels, ``auto`` means every representation, and each is weighted later. With one, it means
    ``lite0`` for photographs, which have colour or sides over 64 pixels, and no encoder for other images.

    Args:
        names: the values of the option.
        images: the images of the run.
        labels: K, the number of coarse labels.
    """
    if tuple(names) == (NONE,):
        return Choice((), OWN)
    if tuple(names) != (AUTO,):
        return Choice(tuple(name for name in names if name not in OWN), tuple(name for name in names if name in OWN))
    if labels > 1:
        return Choice((LITE0,), OWN)
    photographs = np.median([image.colour for image in images]) > 0 or _median_side(images) > SMALL_SIDE
    return Choice((LITE0,), ()) if photographs else Choice((), OWN)


def small_input(images: Sequence[Image]) -> InputSpec:
    """Return the format of small images: squares of the median side, 16 to 64 pixels, in colour if one in ten is."""
    side = int(np.clip(_median_side(images), 2 * SMALLEST_SIDE, SMALL_SIDE))
    return folder_input(None, (side, side), bool(np.mean([image.colour for image in images]) >= 0.1))


def _median_side(images: Sequence[Image]) -> float:
    return float(np.median([min(image.width, image.height) for image in images]))


def embed(
    images: Sequence[Image], choice: Choice, run: Path, seed: int, views: int = 0, engine: Engine = on_threads
) -> None:
    """Compute the chosen representations that are still missing, and write their rows.

    Args:
        images: all images of the run.
        choice: the representations.
        run: the run's folder.
        seed: seeds principal components and patches.
        views: number of random views of each training image that are embedded as well, for training.
        engine: decodes and embeds images.

    Raises:
        UserError: there is no such encoder, or an image has changed since it was read.
    """
    caches = {name: EmbeddingCache(run / EMBEDDINGS, open_encoder(name).spec) for name in choice.encoders}
    small = Small(run / SMALL, small_input(images)) if choice.own else None
    make = partial(ShardWork, run.resolve(), [portable(name) for name in caches], small.spec if small else None)
    todo = list(missing_shards(list(batches(images, SHARD)), list(caches.values()), small, views))
    for _, done in show(engine(make, todo), [len(shard.images) for shard in todo], "embed"):
        _keep(done, list(caches.values()), small)
    rows = dict(_rows(images, choice, caches, small, seed))
    with replacing_folder(run / ROWS) as folder:
        for name, found in rows.items():
            np.save(folder / f"{name_of(name)}.npy", found)


def _keep(done: Done, caches: Sequence[EmbeddingCache], small: Small | None) -> None:
    """Write what was computed for a shard."""
    for cache, keys, embeddings in zip(caches, done.keys, done.embeddings, strict=True):
        cache.add(keys, embeddings)
    if small is not None and done.small is not None:
        small.add(done.number, done.small)


def _rows(
    images: Sequence[Image],
    choice: Choice,
    caches: Mapping[str, EmbeddingCache],
    small: Small | None,
    seed: int,
) -> Iterator[tuple[str, Floats]]:
    """Yield the name and the principal components of each representation."""
    keys = [Key(bytes.fromhex(image.sha256)) for image in images]
    train = np.array([image.split == TRAIN for image in images])
    for name, cache in caches.items():
        yield name, principal(partial(_embeddings, cache, keys), train, seed)
    if small is None:
        return
    if PIXELS in choice.own:
        yield PIXELS, principal(lambda some: small.planes(some).flatten(1).numpy(), train, seed)
    if EDGES in choice.own:
        yield EDGES, principal(lambda some: edges(small.planes(some)), train, seed)
    if PATCHES in choice.own:
        learnt = Patches(small.planes(_some(train, PATCH_IMAGES, seed)), seed)
        yield PATCHES, principal(lambda some: learnt(small.planes(some)), train, seed)


def _embeddings(cache: EmbeddingCache, keys: Sequence[Key], places: NDArray[np.int64]) -> Floats:
    """Return the embeddings at M indices, scaled to length 1, float32 [M, D]."""
    return unit(cache.rows([keys[place] for place in places]))


def principal(features: Callable[[NDArray[np.int64]], Floats], train: NDArray[np.bool_], seed: int) -> Floats:
    """Return the principal components of all images, float32 [N, 50 at most], ``CHUNK`` images in memory at a time.

    Args:
        features: returns the features of the images at M indices, float32 [M, D].
        train: bool [N], the training images; the components are fitted on a sample of them.
        seed: seeds the sample and the solver.
    """
    sample = features(_some(train, COMPONENT_IMAGES, seed))
    components = min(PRINCIPAL_COMPONENTS, *sample.shape)
    found = PCA(components, svd_solver="randomized", random_state=seed).fit(sample)
    places = np.arange(len(train))
    parts = [found.transform(features(places[start : start + CHUNK])) for start in range(0, len(train), CHUNK)]
    return np.concatenate(parts).astype(np.float32)


def _some(train: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.int64]:
    """Return the indices of at most ``count`` random training images, in order."""
    return np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(train))[:count])


def name_of(encoder: str) -> str:
    """Return the name of a representation as a file name, without the suffix."""
    return Path(encoder).stem if encoder not in OWN else encoder


def load_rows(run: Path) -> dict[str, Floats]:
    """Return the rows of each representation of a run."""
    return {path.stem: np.load(path) for path in sorted((run / ROWS).glob("*.npy"))}
