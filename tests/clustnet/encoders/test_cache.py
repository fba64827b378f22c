import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clustnet.encoders import EncoderSpec
from clustnet.encoders.cache import EmbeddingCache, Key, copy_embeddings
from clustnet.errors import UserError

SPEC = EncoderSpec(name="tiny", sha256="a" * 64, size=(8, 8), mean=(0, 0, 0), std=(1, 1, 1), features=3)
KEYS = [Key(bytes([number]) * 32, view) for number in range(4) for view in range(2)]


def rows(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.arange(3 * count, dtype=np.float32).reshape(count, 3)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, SPEC)
    cache.add(KEYS[:5], rows(5))
    cache.add(KEYS[5:], rows(3) + 100)
    again = EmbeddingCache(tmp_path, SPEC)
    assert (len(again), again.missing([*KEYS, Key(b"x" * 32)])) == (8, [Key(b"x" * 32)])
    expected = np.concatenate([rows(5), rows(3) + 100])
    order = [6, 0, 7, 3, 3]
    np.testing.assert_array_equal(again.rows([KEYS[place] for place in order]), expected[order])


def test_rows_go_where_they_are_wanted(tmp_path: Path) -> None:
    cache, out = EmbeddingCache(tmp_path, SPEC), np.zeros((8, 3), np.float32)
    cache.add(KEYS, rows(8))
    assert cache.rows(KEYS, out) is out
    np.testing.assert_array_equal(out, rows(8))
    with pytest.raises(KeyError):
        cache.rows([Key(b"x" * 32)])


def test_a_copy_stands_alone(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "copy"
    folder.mkdir()
    cache = EmbeddingCache(source, SPEC)
    cache.add(KEYS, rows(8))
    copy_embeddings(source, folder)
    copied = EmbeddingCache(folder, SPEC)
    copied.add([Key(b"x" * 32)], rows(1))
    assert (len(cache), len(copied)) == (8, 9)
    np.testing.assert_array_equal(copied.rows(KEYS), rows(8))


def test_several_write_at_once(tmp_path: Path) -> None:
    caches = [EmbeddingCache(tmp_path, SPEC) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda cache: cache.add(KEYS, rows(8)), caches))
    assert [cache.missing(KEYS) for cache in caches] == [[]] * 4
    assert len(caches[0]) == 8


def test_encoders_and_sizes_do_not_mix(tmp_path: Path) -> None:
    EmbeddingCache(tmp_path, SPEC).add(KEYS, rows(8))
    for change in ({"sha256": "b" * 64}, {"size": (16, 8)}):
        assert len(EmbeddingCache(tmp_path, SPEC.model_copy(update=change))) == 0


def test_half_a_write_is_not_kept(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, SPEC)
    with pytest.raises(ValueError, match="shorter"):
        cache.add(KEYS, rows(7))
    assert len(cache) == 0


def test_damaged_embeddings_are_named(tmp_path: Path) -> None:
    name, damaged = EmbeddingCache(tmp_path / "whole", SPEC).path.name, tmp_path / "damaged"
    damaged.mkdir()
    (damaged / name).write_bytes(b"damaged" * 1000)
    with pytest.raises(UserError, match="repair it"):
        EmbeddingCache(damaged, SPEC)


def test_embeddings_of_another_length_are_named(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, SPEC)
    cache.add(KEYS, rows(8))
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE embeddings SET embedding = x'00'")
    connection.close()
    with pytest.raises(UserError, match="do not match their encoder"):
        cache.rows(KEYS)
