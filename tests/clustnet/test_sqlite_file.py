import sqlite3
from pathlib import Path

import pytest

from clustnet.errors import UserError
from clustnet.sqlite_file import SqliteFile, reading

KIND = 7
SCHEMA = ("CREATE TABLE IF NOT EXISTS a (n INTEGER);", "CREATE TABLE IF NOT EXISTS b (n INTEGER);")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "file.sqlite"


def opened(path: Path) -> SqliteFile:
    return SqliteFile(path, KIND, SCHEMA, "FULL")


def numbers(path: Path) -> list[int]:
    with reading(path, KIND) as connection:
        return [number for (number,) in connection.execute("SELECT n FROM a")]


def test_several_write_and_read_the_same_file(path: Path) -> None:
    one, other = opened(path), opened(path)
    for file, number in ((one, 1), (other, 2), (one, 3)):
        with file.writing() as connection:
            connection.execute("INSERT INTO a VALUES (?)", (number,))
    assert numbers(path) == [1, 2, 3]
    assert one.connection().execute("PRAGMA journal_mode").fetchone() == ("wal",)
    # The value 2 is FULL.
    assert one.connection().execute("PRAGMA synchronous").fetchone() == (2,)
    one.close()
    other.close()
    assert numbers(path) == [1, 2, 3]


def add_and_fail(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO a VALUES (1)")
    connection.execute("INSERT INTO none VALUES (1)")


def test_a_block_that_fails_leaves_nothing(path: Path) -> None:
    file = opened(path)
    with pytest.raises(sqlite3.OperationalError, match="no such table"), file.writing() as connection:
        add_and_fail(connection)
    with file.writing() as connection:
        connection.execute("INSERT INTO a VALUES (2)")
    file.close()
    assert numbers(path) == [2]


def test_a_file_that_was_removed_is_made_again(path: Path) -> None:
    file = opened(path)
    for left in path.parent.iterdir():
        left.unlink()
    with file.writing() as connection:
        connection.execute("INSERT INTO a VALUES (5)")
    assert numbers(path) == [5]
    file.close()


def test_other_files_are_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("no database, but text that is long enough to be read as the header of one" * 9)
    with pytest.raises(UserError, match="file is not a database"):
        opened(path)
    assert path.read_text().startswith("no database")
    path.unlink()
    SqliteFile(path, 8, SCHEMA, "NORMAL").close()
    before = path.read_bytes()
    with pytest.raises(UserError, match="SQLite file of another kind"):
        opened(path)
    with pytest.raises(UserError, match="SQLite file of another kind"), reading(path, KIND):
        pass
    assert path.read_bytes() == before


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"cannot be written \(.*\); name another file"):
            opened(path)
    with pytest.raises(UserError, match="There is no file"), reading(tmp_path / "none", KIND):
        pass
    assert not (tmp_path / "none").exists()


def test_a_reader_cannot_write(path: Path) -> None:
    opened(path).close()
    with pytest.raises(UserError, match="readonly"), reading(path, KIND) as connection:
        connection.execute("INSERT INTO a VALUES (1)")


def test_who_waits_too_long_for_another_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clustnet.sqlite_file.BUSY_SECONDS", 0.01)
    one, other = opened(path), opened(path)
    with one.writing(), pytest.raises(sqlite3.OperationalError, match="locked"), other.writing():
        pass
    one.close()
    other.close()
