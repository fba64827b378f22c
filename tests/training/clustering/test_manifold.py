import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from clustnet.errors import UserError
from training.clustering import manifold as module
from training.clustering.manifold import CACHE_VARIABLE, check_manifold, manifold

REPOSITORY = Path(__file__).resolve().parents[3]
# Numba then looks for no folder but the one that is named, as where nothing else can be written.
NOWHERE = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}


def test_seed_decides_the_coordinates() -> None:
    rows = np.random.default_rng(0).random((40, 5), np.float32)
    first, again, other = (manifold(rows, 5, seed) for seed in (0, 0, 1))
    assert first.shape == (40, 5)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_numba_gets_a_folder_of_ours(tmp_path: Path) -> None:
    code = """
import os
from training.clustering.manifold import _can_cache, check_manifold
before = _can_cache("umap")
check_manifold()
print(before, _can_cache("umap"), os.path.isdir(os.environ["NUMBA_CACHE_DIR"]), os.environ["NUMBA_CACHE_DIR"])
"""
    environment = os.environ | NOWHERE | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    environment.pop(CACHE_VARIABLE, None)
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    *states, folder = shown.split()
    assert states == ["False", "True", "True"]
    assert Path(folder).parent == tmp_path
    # Nothing is left behind.
    assert not Path(folder).exists()


def test_no_folder_at_all_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(prefix: str) -> str:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(module, "_can_cache", lambda _: False)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(
        UserError, match=r"none can be written \(Read-only file system\); name one by .*NUMBA_CACHE_DIR"
    ):
        check_manifold()


def test_installed_packages_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    check_manifold()
    assert CACHE_VARIABLE not in os.environ
