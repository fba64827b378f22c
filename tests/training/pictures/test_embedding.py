import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score

from training.pictures.embedding import flattened


def blobs(images: int = 90) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = make_blobs(images, 8, centers=3, random_state=0)
    return rows.astype(np.float32), labels


def test_groups_lie_apart_and_stay_in_place() -> None:
    rows, labels = blobs()
    first = flattened(rows, 0)
    later = flattened(rows + np.random.default_rng(0).normal(size=rows.shape).astype(np.float32), 0, first)
    assert silhouette_score(first, labels) > 0.5
    assert silhouette_score(later, labels) > 0.5
    centres = [np.stack([flat[labels == label].mean(axis=0) for label in range(3)]) for flat in (first, later)]
    steps = [np.linalg.norm(centres[1] - centre, axis=1).argmin() for centre in centres[0]]
    assert steps == [0, 1, 2]


@pytest.mark.parametrize("images", [4, 7])
def test_few_images_are_placed(images: int) -> None:
    flat = flattened(blobs(images)[0], 0)
    assert flat.shape == (images, 2)
    assert np.isfinite(flat).all()
