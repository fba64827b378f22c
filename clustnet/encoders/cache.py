"""A cache of embeddings, keyed by the content of the image file, the encoder and the number of the view.

Each encoder and size has its own SQLite file. Nothing is held in memory, and several processes may write at once.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustnet.encoders.spec import EncoderSpec
from clustnet.errors import UserError
from clustnet.sqlite_file import SqliteFile

# SQLite's application id of these files: "CNem".
KIND = 0x434E656D
SCHEMA = ("CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, embedding BLOB NOT NULL);",)
VIEW_BYTES = 4


class Key(NamedTuple):
    """The key of one embedding.

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
    """The embeddings of one encoder.

    Args:
        folder: the folder with the files of all encoders.
        spec: the spec of an opened encoder, whose ``features`` is known.

    Raises:
        UserError: the file is damaged or cannot be written. Every method may raise this, too.
    """

    def __init__(self, folder: Path, spec: EncoderSpec) -> None:
        height, width = spec.size
        self.path = folder / f"{spec.sha256[:16]}_{height}x{width}.sqlite"
        self.features = spec.features or 0
        # The last embeddings may be lost in a power failure; then they are computed again.
        self._file = SqliteFile(self.path, KIND, SCHEMA, "NORMAL")

    def __len__(self) -> int:
        with self._reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM embeddings").fetchone()
        return int(count)

    def missing(self, keys: Iterable[Key]) -> list[Key]:
        """Return the distinct keys whose embeddings are not in the cache."""
        with self._reading() as connection:
            found = "SELECT 1 FROM embeddings WHERE key = ?"
            return [key for key in dict.fromkeys(keys) if connection.execute(found, [key.packed()]).fetchone() is None]

    def add(self, keys: Sequence[Key], embeddings: NDArray[np.float32]) -> None:
        """Write the embeddings, float32 [M, D], of M keys: all of them or none."""
        rows = zip(keys, embeddings.astype(np.float32), strict=True)
        with self._sentences(), self._file.writing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO embeddings VALUES (?, ?)", ((key.packed(), row.tobytes()) for key, row in rows)
            )

    def rows(self, keys: Sequence[Key], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the embeddings of keys, float32 [N, D].

        Args:
            keys: N keys.
            out: float32 [N, D] array to write into; by default a new one.

        Raises:
            KeyError: an embedding is missing.
        """
        found = np.empty((len(keys), self.features), np.float32) if out is None else out
        with self._reading() as connection:
            for place, key in enumerate(keys):
                row = connection.execute("SELECT embedding FROM embeddings WHERE key = ?", [key.packed()]).fetchone()
                if row is None:
                    raise KeyError(key)
                found[place] = self._embedding(row[0])
        return found

    def _embedding(self, content: bytes) -> NDArray[np.float32]:
        if len(content) != 4 * self.features:
            raise UserError(
                f"The embeddings {self.path} do not match their encoder; remove the file and run the command again."
            )
        return np.frombuffer(content, np.float32)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._sentences():
            yield self._file.connection()

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn SQLite's errors into a ``UserError``."""
        try:
            yield
        except sqlite3.Error as error:
            raise UserError(
                f"The embeddings {self.path} cannot be used ({error}); remove the file and run the command again."
            ) from None


def copy_embeddings(source: Path, folder: Path) -> None:
    """Copy the embeddings of all encoders into a folder, even while another process writes them.

    Args:
        source: a folder of embeddings.
        folder: a folder without embeddings.
    """
    for path in source.glob("*.sqlite"):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM INTO ?", [str(folder / path.name)])
