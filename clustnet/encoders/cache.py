"""Embeddings that are kept, by the content of the image file, the encoder and the view's number.

::

    FOLDER/ENCODER/0f3a.npy         embeddings float32 [M, D] of one write
    FOLDER/ENCODER/0f3a.keys.npy    uint8 [M, 36]: the SHA-256 of each image file, and the number of the view

The keys are written last, so that a write is there whole or not at all. Several processes may write at once.
"""

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustnet.encoders.spec import EncoderSpec
from clustnet.errors import UserError
from clustnet.files import replacing

KEYS = ".keys.npy"
DIGEST_BYTES, VIEW_BYTES = 32, 4


class Key(NamedTuple):
    """Which embedding is meant.

    Args:
        digest: the SHA-256 of the image file's content, 32 bytes.
        view: the number of the view, see ``clustnet.encoders.views``.
    """

    digest: bytes
    view: int = 0

    def packed(self) -> bytes:
        """Return the key as 36 bytes."""
        return self.digest + self.view.to_bytes(VIEW_BYTES, "big")


class EmbeddingCache:
    """Embeddings of one encoder in a folder; what is read of them stays on the disk until it is asked for.

    Args:
        folder: of the embeddings of any encoders.
        spec: of an opened encoder, whose ``features`` is known.

    Raises:
        UserError: a file of the cache is damaged.
    """

    def __init__(self, folder: Path, spec: EncoderSpec) -> None:
        height, width = spec.size
        self.folder = folder / f"{spec.sha256[:16]}_{height}x{width}"
        self.features = spec.features or 0
        self._place: dict[bytes, tuple[Path, int]] = {}
        self._seen: set[Path] = set()
        self.refresh()

    def __len__(self) -> int:
        return len(self._place)

    def refresh(self) -> None:
        """Take notice of what other processes have written."""
        for keys in sorted(set(self.folder.glob(f"*{KEYS}")) - self._seen):
            self._learn(keys)

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """Return the keys, each once, whose embeddings are not there."""
        return [key for key in dict.fromkeys(keys) if key.packed() not in self._place]

    def add(self, keys: Sequence[Key], embeddings: NDArray[np.float32]) -> None:
        """Write the embeddings, float32 [M, D], of M keys: all or none."""
        name = uuid.uuid4().hex
        packed = np.frombuffer(b"".join(key.packed() for key in keys), np.uint8).reshape(len(keys), -1)
        for path, values in (
            (self.folder / f"{name}.npy", embeddings.astype(np.float32)),
            (self.folder / f"{name}{KEYS}", packed),
        ):
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, values, allow_pickle=False)
        self._learn(self.folder / f"{name}{KEYS}")

    def rows(self, keys: Sequence[Key]) -> NDArray[np.float32]:
        """Return the embeddings of keys that are there, float32 [N, D].

        Raises:
            KeyError: one is missing.
        """
        found = np.empty((len(keys), self.features), np.float32)
        by_file: dict[Path, list[tuple[int, int]]] = {}
        for index, key in enumerate(keys):
            path, row = self._place[key.packed()]
            by_file.setdefault(path, []).append((index, row))
        for path, places in by_file.items():
            indices, rows = (list(numbers) for numbers in zip(*places, strict=True))
            found[indices] = np.load(path, mmap_mode="r", allow_pickle=False)[rows]
        return found

    def _learn(self, keys: Path) -> None:
        """Remember where the embeddings of a file of keys are.

        Raises:
            UserError: it is damaged.
        """
        path = keys.with_name(keys.name.removesuffix(KEYS) + ".npy")
        try:
            packed = np.load(keys, allow_pickle=False)
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        except (OSError, ValueError, EOFError):
            raise UserError(f"The embeddings {path} are damaged; remove {path.stem}* and go on.") from None
        if (
            packed.dtype != np.uint8
            or packed.shape != (shape[0], DIGEST_BYTES + VIEW_BYTES)
            or shape[1:] != (self.features,)
        ):
            raise UserError(f"The embeddings {path} do not fit their encoder; remove {path.stem}* and go on.")
        for row, key in enumerate(packed):
            self._place[key.tobytes()] = path, row
        self._seen.add(keys)
