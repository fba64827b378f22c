"""The step ``embed``: what images are compared by, computed once for each image and kept by its content.

::

    RUN/embeddings/    the cache of the encoders
    RUN/small/         all images as small pixels
    RUN/rows/NAME.npy  float32 [N, 50], the principal components of a representation, in the order of files.csv
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image as PillowImage
from sklearn.decomposition import PCA

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.decoding import decode
from clustnet.bundles.preparation import prepare_image
from clustnet.datasets.folder import folder_input
from clustnet.datasets.folder_layout import TRAIN
from clustnet.encoders import Embeds, open_encoder
from clustnet.encoders.cache import EmbeddingCache, Key
from clustnet.encoders.encoder import unit
from clustnet.encoders.views import view_of
from clustnet.errors import UserError
from clustnet.files import replacing, replacing_folder
from training.discover.arguments import AUTO, EDGES, NONE, OWN, PATCHES, PIXELS
from training.discover.glance import content_of
from training.discover.progress import show
from training.discover.reading import IMAGES, Image, batches
from training.methods.clustnet.representations import PRINCIPAL_COMPONENTS, SMALLEST_SIDE, edges, patches

EMBEDDINGS, SMALL, ROWS = "embeddings", "small", "rows"
LITE0 = "lite0"
# Images that one thread decodes and embeds at once, and those of a shard, which is written when all are done.
BATCH, SHARD = 16, 512
# Pixels a side, at most, of what pixels, edges and patches are computed from.
SMALL_SIDE = 64
# Images that principal components are found by.
COMPONENT_IMAGES = 5000
# Patches are learnt from all images at once, so they are left out of more.
PATCH_IMAGES = 10_000
# Images whose features are in memory together.
CHUNK = 1000

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Choice:
    """What images are compared by.

    Args:
        encoders: names of encoders.
        own: names of representations that need no encoder.
    """

    encoders: tuple[str, ...]
    own: tuple[str, ...]


def chosen(names: Sequence[str], images: Sequence[Image], labels: int) -> Choice:
    """Return what ``--encoder`` stands for.

    With several coarse labels ``auto`` is everything at hand, which is weighted later. With one it is ``lite0`` for
    photographs, in colour or with sides over 64 pixels, and none for others.

    Args:
        names: the words of the option.
        images: the images.
        labels: K, how many coarse labels there are.
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
    """Return how images are made small: square with the median side, 64 pixels at most, in colour if one in ten is."""
    side = int(np.clip(_median_side(images), 2 * SMALLEST_SIDE, SMALL_SIDE))
    return folder_input(None, (side, side), bool(np.mean([image.colour for image in images]) >= 0.1))


def _median_side(images: Sequence[Image]) -> float:
    return float(np.median([min(image.width, image.height) for image in images]))


def embed(images: Sequence[Image], choice: Choice, run: Path, seed: int, views: int = 0) -> None:
    """Compute all representations that are chosen, without what was computed before, and write their rows.

    Args:
        images: all images of the run.
        choice: what they are compared by.
        run: the run's folder.
        seed: of principal components and patches.
        views: random views of each training image that are embedded as well, for the training.

    Raises:
        UserError: there is no such encoder, or an image has changed since it was read.
    """
    encoders = {name: open_encoder(name) for name in choice.encoders}
    caches = {name: EmbeddingCache(run / EMBEDDINGS, encoder.spec) for name, encoder in encoders.items()}
    small = Small(run / SMALL, small_input(images)) if choice.own else None
    shards = list(batches(images, SHARD))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, shard in enumerate(show(shards, len(shards), "embed")):
            _embed_shard(number, shard, run, [(encoders[name], caches[name]) for name in encoders], small, views, pool)
    rows = dict(_rows(images, choice, caches, small, seed))
    with replacing_folder(run / ROWS) as folder:
        for name, found in rows.items():
            np.save(folder / f"{name_of(name)}.npy", found)


@dataclass(frozen=True)
class Small:
    """All images as small pixels, a file for each ``SHARD`` of them in the order of files.csv.

    Args:
        folder: of the files.
        spec: how images are made small.
    """

    folder: Path
    spec: InputSpec

    def path(self, number: int) -> Path:
        """Return the file of a shard."""
        return self.folder / f"{number:06}.npy"

    def add(self, number: int, pixels: NDArray[np.uint8]) -> None:
        """Write a shard, whole or not at all."""
        with replacing(self.path(number)) as temporary, temporary.open("wb") as file:
            np.save(file, pixels)

    def planes(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """Return images as planes from 0 to 1, float32 [M, C, H, W]."""
        pixels = np.empty((len(indices), *self.spec.shape), np.uint8)
        for number in np.unique(indices // SHARD):
            inside = indices // SHARD == number
            pixels[inside] = np.load(self.path(number), mmap_mode="r")[indices[inside] % SHARD]
        floats = torch.from_numpy(pixels).float() / 255
        return floats[:, None] if pixels.ndim == 3 else floats.permute(0, 3, 1, 2).contiguous()


def _embed_shard(
    number: int,
    shard: Sequence[Image],
    run: Path,
    encoders: Sequence[tuple[Embeds, EmbeddingCache]],
    small: Small | None,
    views: int,
    pool: ThreadPoolExecutor,
) -> None:
    """Compute what is missing of some images; each thread decodes and embeds its own."""
    wanted = [key for image in shard for key in keys_of(image, views)]
    missing = [set(cache.missing(wanted)) for _, cache in encoders]
    if small is not None and small.path(number).is_file():
        small = None
    if small is None and not any(missing):
        return

    def work(batch: list[Image]) -> tuple[list[tuple[list[Key], Floats]], list[NDArray[np.uint8]]]:
        decoded = [_decoded(run / IMAGES / image.image, image.file) for image in batch]
        found = []
        for (encoder, _), lacking in zip(encoders, missing, strict=True):
            pairs = zip(decoded, batch, strict=True)
            todo = [(one, key) for one, image in pairs for key in keys_of(image, views) if key in lacking]
            if todo:
                prepared = [view_of(one, encoder.input, key.view, key.digest) for one, key in todo]
                found.append(([key for _, key in todo], encoder.embed(np.stack(prepared))))
            else:
                found.append(([], np.empty((0, encoder.spec.features or 0), np.float32)))
        return found, [] if small is None else [prepare_image(one, small.spec) for one in decoded]

    done = list(pool.map(work, batches(shard, BATCH)))
    for place, (_, cache) in enumerate(encoders):
        keys = [key for found, _ in done for key in found[place][0]]
        if keys:
            cache.add(keys, np.concatenate([found[place][1] for found, _ in done]))
    if small is not None:
        small.add(number, np.stack([pixels for _, batch in done for pixels in batch]))


def keys_of(image: Image, views: int = 0) -> list[Key]:
    """Return the keys of an image and, for training images, of its random views."""
    digest = bytes.fromhex(image.sha256)
    return [Key(digest, view) for view in range(1 + (views if image.split == TRAIN else 0))]


def _decoded(path: Path, name: str) -> PillowImage:
    try:
        return decode(content_of(path))
    except (UserError, OSError) as error:
        raise UserError(f"The image {name} cannot be read any more ({error}); choose another --out.") from None


def _rows(
    images: Sequence[Image],
    choice: Choice,
    caches: Mapping[str, EmbeddingCache],
    small: Small | None,
    seed: int,
) -> Iterator[tuple[str, Floats]]:
    """Yield the name and the principal components of each representation."""
    keys = [keys_of(image)[0] for image in images]
    train = np.array([image.split == TRAIN for image in images])
    for name, cache in caches.items():
        yield name, principal(partial(_embeddings, cache, keys), train, seed)
    if small is None:
        return
    if PIXELS in choice.own:
        yield PIXELS, principal(lambda some: small.planes(some).flatten(1).numpy(), train, seed)
    if EDGES in choice.own:
        yield EDGES, principal(lambda some: edges(small.planes(some)), train, seed)
    if PATCHES in choice.own and len(images) <= PATCH_IMAGES:
        found = patches(small.planes(np.arange(len(images))), seed)
        yield PATCHES, principal(lambda some: found[some], train, seed)


def _embeddings(cache: EmbeddingCache, keys: Sequence[Key], places: NDArray[np.int64]) -> Floats:
    """Return the embeddings at some places, of length 1, float32 [M, D]."""
    return unit(cache.rows([keys[place] for place in places]))


def principal(features: Callable[[NDArray[np.int64]], Floats], train: NDArray[np.bool_], seed: int) -> Floats:
    """Return the principal components of all images, float32 [N, 50 at most], ``CHUNK`` images in memory at a time.

    Args:
        features: returns the features of the images at some places, float32 [M, D].
        train: bool [N], the images that the components may be found by.
        seed: of the images that they are found by, and of the solver.
    """
    some = np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(train))[:COMPONENT_IMAGES])
    sample = features(some)
    components = min(PRINCIPAL_COMPONENTS, *sample.shape)
    found = PCA(components, svd_solver="randomized", random_state=seed).fit(sample)
    places = np.arange(len(train))
    parts = [found.transform(features(places[start : start + CHUNK])) for start in range(0, len(train), CHUNK)]
    return np.concatenate(parts).astype(np.float32)


def name_of(encoder: str) -> str:
    """Return the name of a representation as a file's name."""
    return Path(encoder).stem if encoder not in OWN else encoder


def load_rows(run: Path) -> dict[str, Floats]:
    """Return the rows of each representation of a run."""
    return {path.stem: np.load(path) for path in sorted((run / ROWS).glob("*.npy"))}
