"""Shards of images: what one worker reads, decodes once and embeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image as PillowImage

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.decoding import decode
from clustnet.bundles.preparation import prepare_image
from clustnet.datasets.folder_layout import TRAIN
from clustnet.encoders import find_encoder, open_encoder
from clustnet.encoders.cache import EmbeddingCache, Key
from clustnet.encoders.views import view_of
from clustnet.errors import UserError
from clustnet.files import replacing
from training.discover.glance import content_of
from training.discover.reading import IMAGES, Image

# Images per shard; a shard is saved as soon as it is done.
SHARD = 128

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Small:
    """All images at a small size, in the order of files.csv, with one file for every ``SHARD`` of them.

    Args:
        folder: folder of the files.
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
        """Return the images at M indices, scaled to 0..1, float32 [M, C, H, W]."""
        pixels = np.empty((len(indices), *self.spec.shape), np.uint8)
        for number in np.unique(indices // SHARD):
            inside = indices // SHARD == number
            pixels[inside] = np.load(self.path(number), mmap_mode="r")[indices[inside] % SHARD]
        floats = torch.from_numpy(pixels).float() / 255
        return floats[:, None] if pixels.ndim == 3 else floats.permute(0, 3, 1, 2).contiguous()


class Todo(NamedTuple):
    """What is missing for a shard.

    Args:
        number: number of the shard.
        images: its M images.
        views: for each encoder, bool [M, 1 + V], the views that have no embedding yet.
        small: whether the small images are missing.
    """

    number: int
    images: list[Image]
    views: list[NDArray[np.bool_]]
    small: bool


class Done(NamedTuple):
    """What was computed for a shard.

    Args:
        number: number of the shard.
        keys: for each encoder, the keys of its embeddings.
        embeddings: for each encoder, float32 [its keys, D].
        small: small images, uint8 [M, *shape]; None if they were not missing.
    """

    number: int
    keys: list[list[Key]]
    embeddings: list[Floats]
    small: NDArray[np.uint8] | None


class ShardWork:
    """Decodes and embeds shards.

    Args:
        run: the run's folder.
        encoders: names of the encoders.
        small: how images are made small; None for no small images.
    """

    def __init__(self, run: Path, encoders: Sequence[str], small: InputSpec | None) -> None:
        self._run, self._small = run, small
        self._encoders = [open_encoder(name) for name in encoders]

    def __call__(self, todo: Todo) -> Done:
        """Return what was missing for a shard; one image is decoded at a time."""
        prepared: list[list[NDArray[np.uint8]]] = [[] for _ in self._encoders]
        small = []
        for place, image in enumerate(todo.images):
            pixels = _decoded(self._run / IMAGES / image.image, image.file)
            for encoder, missing, views in zip(self._encoders, todo.views, prepared, strict=True):
                views += [view_of(pixels, encoder.input, *key[::-1]) for key in _keys(image, missing[place])]
            if todo.small and self._small is not None:
                small.append(prepare_image(pixels, self._small))
        keys = [
            [key for image, row in zip(todo.images, missing, strict=True) for key in _keys(image, row)]
            for missing in todo.views
        ]
        embeddings = [
            encoder.embed(np.stack(views)) if views else np.empty((0, encoder.spec.features or 0), np.float32)
            for encoder, views in zip(self._encoders, prepared, strict=True)
        ]
        return Done(todo.number, keys, embeddings, np.stack(small) if small else None)


def missing_shards(
    shards: Sequence[list[Image]], caches: Sequence[EmbeddingCache], small: Small | None, views: int
) -> Iterator[Todo]:
    """Yield what is missing for each shard that is not complete.

    Args:
        shards: all images.
        caches: caches of the encoders.
        small: the small images; None if there are none.
        views: number of random views of each training image.
    """
    for number, images in enumerate(shards):
        lacking = [_missing(images, cache, views) for cache in caches]
        no_pixels = small is not None and not small.path(number).is_file()
        if no_pixels or any(missing.any() for missing in lacking):
            yield Todo(number, images, lacking, no_pixels)


def _missing(images: Sequence[Image], cache: EmbeddingCache, views: int) -> NDArray[np.bool_]:
    """Return which views of images have no embedding, bool [M, 1 + views]; only training images have random views."""
    wanted = np.ones((len(images), 1 + views), np.bool_)
    wanted[[image.split != TRAIN for image in images], 1:] = False
    lacking = set(cache.missing(key for image, row in zip(images, wanted, strict=True) for key in _keys(image, row)))
    for image, row in zip(images, wanted, strict=True):
        row &= [Key(bytes.fromhex(image.sha256), view) in lacking for view in range(1 + views)]
    return wanted


def _keys(image: Image, chosen: NDArray[np.bool_]) -> list[Key]:
    """Return the keys of some views of an image."""
    digest = bytes.fromhex(image.sha256)
    return [Key(digest, int(view)) for view in np.flatnonzero(chosen)]


def portable(encoder: str) -> str:
    """Return the absolute path of an encoder's graph, by which processes in other folders can open it."""
    return str(find_encoder(encoder)[0].resolve())


def _decoded(path: Path, name: str) -> PillowImage:
    try:
        return decode(content_of(path))
    except (UserError, OSError) as error:
        raise UserError(f"The image {name} can no longer be read ({error}); choose another --out.") from None
