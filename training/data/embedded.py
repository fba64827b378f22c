"""Embeddings instead of images: each file is embedded once, and its embedding is kept in the run's folder.

All of them are in a memory-mapped file, so that the memory that a run needs does not grow with the number of images.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from clustnet.bundles.preparation import decode
from clustnet.datasets import LabelledImages
from clustnet.datasets.folder import Reader, read_file
from clustnet.encoders import Embeds, open_encoder
from clustnet.encoders.cache import EmbeddingCache, Key
from clustnet.encoders.views import view_of
from training.engine.processes import is_first
from training.recipe.recipe import EncoderChoice

# Images in memory at once, and embeddings in one write.
BLOCK_IMAGES = 256

Floats = NDArray[np.float32]


class EmbeddedFiles:
    """The embeddings of image files, made where they are missing.

    Args:
        encoder: the encoder; see ``clustnet.encoders.open_encoder``.
        folder: the folder in which embeddings are kept.

    Raises:
        UserError: a file in the folder is damaged.
    """

    def __init__(self, encoder: Embeds, folder: Path) -> None:
        self.encoder = encoder
        self._folder = folder
        self._cache = EmbeddingCache(folder, encoder.spec)
        self._digests: dict[Path, bytes] = {}

    @classmethod
    def of(cls, name: str, size: tuple[int, int] | None, folder: Path) -> "EmbeddedFiles":
        """Return the embeddings of the encoder with this name, on all cores or on a GPU.

        Raises:
            UserError: there is no such encoder, or it does not read images of this size.
        """
        return cls(open_encoder(name, threads=0, size=size), folder)

    @classmethod
    def reader(cls, choice: EncoderChoice | None, folder: Path) -> Reader | None:
        """Return a reader that turns files into embeddings by a recipe's encoder; None if the recipe has no encoder.

        Raises:
            UserError: as for ``of``.
        """
        return None if choice is None else cls.of(choice.name, choice.size, folder).images

    def images(self, files: Sequence[Path]) -> Floats:
        """Return the embedding of each file's image, float32 [N, D].

        Raises:
            UserError: a file cannot be read.
        """
        return self._rows(files, (0,))

    def views(self, files: Sequence[Path], views: int) -> Floats:
        """Return the embeddings of random views of each file's image, float32 [N, views, D].

        Raises:
            UserError: a file cannot be read.
        """
        rows = self._rows(files, range(1, views + 1))
        return rows.reshape(len(files), views, -1)

    def views_of(self, labelled: LabelledImages, folder: Path | None, views: int) -> Tensor | None:
        """Return the embeddings of random views of a split's images, float32 [N, views, D]; None for no views or files.

        Args:
            labelled: the images.
            folder: folder of the data; None if there is none.
            views: number of views of each image.

        Raises:
            UserError: a file cannot be read.
        """
        if views == 0 or folder is None or labelled.files is None:
            return None
        return torch.from_numpy(self.views([folder / file for file in labelled.files], views))

    def _rows(self, files: Sequence[Path], views: Sequence[int]) -> Floats:
        """Return the embeddings of the views of each file, one file after the other, float32 [N * V, D], on disk."""
        found = on_disk((len(files) * len(views), self._cache.features), self._folder)
        hidden = None if is_first() else True
        with tqdm(total=len(files), desc="embed", unit="image", leave=False, disable=hidden) as bar:
            for start in range(0, len(files), BLOCK_IMAGES):
                block = files[start : start + BLOCK_IMAGES]
                self._embed(block, views)
                keys = [Key(self._digests[file], view) for file in block for view in views]
                self._cache.rows(keys, found[start * len(views) :][: len(keys)])
                bar.update(len(block))
        return found

    def _embed(self, files: Sequence[Path], views: Sequence[int]) -> None:
        """Embed the views of files whose embeddings are missing, and keep these."""
        found = dict(self._missing(files, views))
        if found:
            self._cache.add(list(found), self.encoder.embed(np.stack(list(found.values()))))

    def _missing(self, files: Sequence[Path], views: Sequence[int]) -> Iterator[tuple[Key, NDArray[np.uint8]]]:
        """Yield the views that have no embedding yet, prepared, with their keys; other files are not decoded."""
        for file in files:
            keys: list[Key] = []

            def decoded(content: bytes, file: Path = file, keys: list[Key] = keys) -> Image.Image | None:
                self._digests[file] = hashlib.sha256(content).digest()
                keys += self._cache.missing(Key(self._digests[file], view) for view in views)
                return decode(content) if keys else None

            image = read_file(file, decoded)
            if image is not None:
                for key in keys:
                    yield key, view_of(image, self.encoder.input, key.view, key.digest)


def on_disk(shape: tuple[int, ...], folder: Path) -> Floats:
    """Return a float32 array of zeros in a temporary file, not in memory; the file is deleted with the array.

    Args:
        shape: shape of the array.
        folder: a folder with room for the file.
    """
    if 0 in shape:
        return np.zeros(shape, np.float32)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.float32, "w+", shape=shape)
