"""The manifold that rows lie on, found by UMAP (McInnes, Healy, Melville, arXiv:1802.03426)."""

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
# Packages whose compiled functions Numba keeps in files beside them, or in the user's cache folder.
COMPILED = ("umap", "pynndescent")
# The environment variable that sets Numba's cache folder.
CACHE_VARIABLE = "NUMBA_CACHE_DIR"

Floats = NDArray[np.float32]
# Only one thread at a time can use Numba's threads; warning filters and torch's thread count are those of the process.
_one_at_a_time = threading.RLock()


def manifold(
    rows: Floats, neighbours: int, seed: int, components: int = COMPONENTS, min_distance: float = 0.0
) -> Floats:
    """Return the coordinates of rows on their manifold, float32 [N, components].

    Args:
        rows: float32 [N, features].
        neighbours: number of neighbours of each row from which the manifold is found; at most N - 1 are used.
        seed: seeds every random choice.
        components: number of coordinates, 5 by default; 2 to draw them.
        min_distance: least distance between rows on the manifold; 0 packs those of a cluster tightly.

    Raises:
        UserError: as for ``check_manifold``.
    """
    check_manifold()
    # Imported here because it takes seconds to compile itself.
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
        # For few images, an exact search for neighbours is much faster than UMAP's own.
        precomputed_knn=(nearest, distances),
        force_approximation_algorithm=True,
    )
    with _one_at_a_time, warnings.catch_warnings():
        threads = torch.get_num_threads()
        # UMAP warns that it could embed no further images, which is not needed.
        warnings.filterwarnings("ignore", "precomputed_knn")
        # Equal rows have no spectrum to start from; UMAP then starts from random coordinates.
        warnings.filterwarnings("ignore", "Spectral initialisation failed")
        embedded: Floats = umap.fit_transform(rows)
        # Numba sets the number of threads for the whole process, and the last bits of torch's sums depend on it.
        torch.set_num_threads(threads)
    return embedded


def check_manifold() -> None:
    """Check that UMAP can be imported, before long work that ends with it.

    Numba refuses to compile a function that it should keep in a file but cannot, as in a read-only installation
    without a home folder. It then gets a temporary folder, which is removed when the process ends.

    Raises:
        UserError: no folder at all can be written to.
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
        # Numba has read the variable already, and reads it again only later.
        numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]


def _can_cache(package: str) -> bool:
    """Return whether Numba finds a folder for the compiled functions of a package."""
    import numba

    spec = importlib.util.find_spec(package)
    # Numba chooses the folder by the file that a function is defined in.
    file = str(Path((spec and spec.origin) or package))
    probe = FunctionType(compile("def probe(): pass", file, "exec").co_consts[0], {"__name__": package}, "probe")
    try:
        numba.njit(cache=True)(probe)
    except RuntimeError:
        return False
    return True
