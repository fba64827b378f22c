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
        neighbours: of each row that tell the manifold; at most N - 1 are taken.
        seed: of everything random.
    """
    from umap import UMAP  # here, because it compiles itself for seconds

    neighbours = min(neighbours, len(rows) - 1)
    distances, nearest = NearestNeighbors(n_neighbors=neighbours).fit(rows).kneighbors(rows)
    umap = UMAP(
        neighbours,
        COMPONENTS,
        n_epochs=EPOCHS,
        min_dist=0.0,
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(nearest, distances),  # exact, and for few images much faster than UMAP's own search
        force_approximation_algorithm=True,
    )
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn")  # it could embed no further images, which nobody asks for
        embedded: Floats = umap.fit_transform(rows)
    torch.set_num_threads(threads)  # numba sets it for the whole process, and sums depend on it to the last bit
    return embedded
