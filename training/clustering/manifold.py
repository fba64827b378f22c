"""The manifold that rows lie on, by UMAP: McInnes, Healy, Melville, arXiv:1802.03426."""

import atexit
import importlib.util
import os
import shutil
import tempfile
import threading
import warnings
from pathlib import Path
from types import FunctionType

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from clustnet.errors import UserError

COMPONENTS, EPOCHS = 5, 200
# Packages whose compiled functions Numba keeps in files beside them, or in the user's folder for caches.
COMPILED = ("umap", "pynndescent")
# Numba's, for the folder.
CACHE_VARIABLE = "NUMBA_CACHE_DIR"

Floats = NDArray[np.float32]
# Numba's threads can be used by one thread at a time, and warnings and torch's threads are the whole process's.
_one_at_a_time = threading.RLock()


def manifold(
    rows: Floats, neighbours: int, seed: int, components: int = COMPONENTS, min_distance: float = 0.0
) -> Floats:
    """Return the manifold's coordinates of rows, float32 [N, components].

    Args:
        rows: float32 [N, features].
        neighbours: neighbours of each row that the manifold is found by; at most N - 1 are taken.
        seed: seeds every random choice.
        components: number of coordinates, 5 by default; 2 to draw them.
        min_distance: least distance between rows that are drawn; 0 packs those of a cluster tightly.

    Raises:
        UserError: as ``check_manifold``.
    """
    check_manifold()
    # It is imported here because it compiles itself for seconds.
    with _one_at_a_time:
        from umap import UMAP

    neighbours = min(neighbours, len(rows) - 1)
    distances, nearest = NearestNeighbors(n_neighbors=neighbours).fit(rows).kneighbors(rows)
    umap = UMAP(
        neighbours,
        components,
        n_epochs=EPOCHS,
        min_dist=min_distance,
        random_state=seed,
        n_jobs=1,
        # Exact neighbours are much faster to find for few images than by UMAP's own search.
        precomputed_knn=(nearest, distances),
        force_approximation_algorithm=True,
    )
    with _one_at_a_time, warnings.catch_warnings():
        threads = torch.get_num_threads()
        # It warns that it could embed no further images, which is not needed.
        warnings.filterwarnings("ignore", "precomputed_knn")
        # Equal rows have no spectrum to start from; UMAP then starts from random coordinates.
        warnings.filterwarnings("ignore", "Spectral initialisation failed")
        embedded: Floats = umap.fit_transform(rows)
        # Numba sets it for the whole process, and sums depend on it to the last bit.
        torch.set_num_threads(threads)
    return embedded


def check_manifold() -> None:
    """Check that UMAP can be imported, before long work that ends with it.

    Numba refuses to compile what it should keep in a file but cannot, as in an installation that cannot be written
    without a home. It then gets a folder of its own for the length of the process.

    Raises:
        UserError: no folder at all can be written.
    """
    import numba

    with _one_at_a_time:
        if all(map(_can_cache, COMPILED)):
            return
        try:
            folder = tempfile.mkdtemp(prefix="clustnet-numba-")
        except OSError as error:
            raise UserError(
                f"UMAP needs a folder to compile itself into, but none can be written ({error.strerror}); "
                f"name one by the environment variable {CACHE_VARIABLE}."
            ) from None
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ[CACHE_VARIABLE] = folder
        # It has read the variable before, and reads it again only later.
        numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]


def _can_cache(package: str) -> bool:
    """Return whether Numba finds a folder for the compiled functions of a package."""
    import numba

    spec = importlib.util.find_spec(package)
    # Numba chooses the folder by the file of a function.
    file = str(Path((spec and spec.origin) or package))
    probe = FunctionType(compile("def probe(): pass", file, "exec").co_consts[0], {"__name__": package}, "probe")
    try:
        numba.njit(cache=True)(probe)
    except RuntimeError:
        return False
    return True
