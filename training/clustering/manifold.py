"""The manifold that rows lie on, by UMAP: McInnes, Healy, Melville, arXiv:1802.03426."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

COMPONENTS, EPOCHS = 5, 200

Floats = NDArray[np.float32]


def manifold(rows: Floats, neighbours: int, seed: int) -> Floats:
    """Return the manifold's coordinates of rows, float32 [N, 5].

    Args:
        rows: float32 [N, features].
        neighbours: of each row that the manifold is found by; at most N - 1 are taken.
        seed: of everything random.
    """
    # It is imported here because it compiles itself for seconds.
    from umap import UMAP

    neighbours = min(neighbours, len(rows) - 1)
    distances, nearest = NearestNeighbors(n_neighbors=neighbours).fit(rows).kneighbors(rows)
    umap = UMAP(
        neighbours,
        COMPONENTS,
        n_epochs=EPOCHS,
        min_dist=0.0,
        random_state=seed,
        n_jobs=1,
        # Exact neighbours are much faster to find for few images than by UMAP's own search.
        precomputed_knn=(nearest, distances),
        force_approximation_algorithm=True,
    )
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        # It warns that it could embed no further images, which is not needed.
        warnings.filterwarnings("ignore", "precomputed_knn")
        embedded: Floats = umap.fit_transform(rows)
    # Numba sets it for the whole process, and sums depend on it to the last bit.
    torch.set_num_threads(threads)
    return embedded
