"""SQLite files that several processes write, in WAL mode: what is committed survives a killed process."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from clustnet.errors import UserError

# How long to wait while another process writes.
BUSY_SECONDS = 5.0


class SqliteFile:
    """A SQLite file of a known kind. It is created if it does not exist, and again if someone removes it.

    Its methods may wait for the disk and for other processes, so call them in a thread, one at a time.

    Args:
        path: the file; while it is open, two more with ``-wal`` and ``-shm`` after its name are beside it.
        kind: SQLite's application id, which distinguishes this kind of file from others.
        schema: the statements that create its tables.
        durable: ``FULL`` waits for the disk at each commit; ``NORMAL`` may lose the last commits in a power failure,
            but never earlier content.

    Raises:
        UserError: the file is of another kind, or cannot be written.
    """

    def __init__(self, path: Path, kind: int, schema: Sequence[str], durable: Literal["FULL", "NORMAL"]) -> None:
        self.path = path
        self._kind, self._schema, self._durable = kind, schema, durable
        self._connection = self._open()
        self._place = self._found()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection in a transaction, which is committed if the block succeeds and rolled back otherwise."""
        connection = self.connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def connection(self) -> sqlite3.Connection:
        """Return the connection to the file that is at the path now."""
        # Anything written to a file that was removed would be lost.
        if self._found() != self._place:
            self._connection.close()
            self._connection = self._open()
            self._place = self._found()
        return self._connection

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _found(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _open(self) -> sqlite3.Connection:
        connection = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._set_up(connection)
        except (sqlite3.Error, OSError, UserError) as error:
            if connection is not None:
                connection.close()
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.path} cannot be written ({error}); name another file, or repair it.") from None
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        check_kind(connection, self.path, self._kind, new=True)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise UserError(f"{self.path} cannot be shared by processes there; name a file on a local disk.")
        connection.execute(f"PRAGMA synchronous = {self._durable}")
        connection.executescript(
            f"BEGIN IMMEDIATE; PRAGMA application_id = {self._kind}; {''.join(self._schema)} COMMIT;"
        )


@contextmanager
def reading(path: Path, kind: int) -> Iterator[sqlite3.Connection]:
    """Yield a read-only connection, which does not block writers.

    Raises:
        UserError: the file is missing, is of another kind or cannot be read.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}; name the one that the service writes.")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", BUSY_SECONDS, uri=True)) as connection:
            check_kind(connection, path, kind)
            yield connection
    except sqlite3.Error as error:
        raise UserError(f"{path} cannot be read ({error}); name the file that the service writes.") from None


def check_kind(connection: sqlite3.Connection, path: Path, kind: int, new: bool = False) -> None:
    """Check that a file is of a kind; with ``new``, an empty one is fine, too.

    Raises:
        UserError: the file is of another kind.
    """
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if found != kind and not (new and tables == 0):
        raise UserError(f"{path} is a SQLite file of another kind; name another path, or move it away.")
