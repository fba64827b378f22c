from pathlib import Path

import numpy as np
import pytest

from clustnet.encoders import EncoderSpec
from clustnet.encoders.cache import EmbeddingCache, Key
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


def test_another_process_is_noticed(tmp_path: Path) -> None:
    mine, other = EmbeddingCache(tmp_path, SPEC), EmbeddingCache(tmp_path, SPEC)
    other.add(KEYS, rows(8))
    assert mine.missing(KEYS) == KEYS
    mine.refresh()
    assert mine.missing(KEYS) == []


def test_encoders_and_sizes_do_not_mix(tmp_path: Path) -> None:
    EmbeddingCache(tmp_path, SPEC).add(KEYS, rows(8))
    for change in ({"sha256": "b" * 64}, {"size": (16, 8)}):
        assert len(EmbeddingCache(tmp_path, SPEC.model_copy(update=change))) == 0


def test_rows_without_their_keys_are_not_there(tmp_path: Path) -> None:
    """As after a crash between both writes."""
    cache = EmbeddingCache(tmp_path, SPEC)
    cache.add(KEYS, rows(8))
    next(cache.folder.glob("*.keys.npy")).unlink()
    assert len(EmbeddingCache(tmp_path, SPEC)) == 0


def test_damaged_embeddings_are_named(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, SPEC)
    cache.add(KEYS, rows(8))
    path = next(path for path in cache.folder.glob("*.npy") if ".keys" not in path.name)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="are damaged; remove"):
        EmbeddingCache(tmp_path, SPEC)
    np.save(path, rows(7))
    with pytest.raises(UserError, match="do not fit their encoder"):
        EmbeddingCache(tmp_path, SPEC)
