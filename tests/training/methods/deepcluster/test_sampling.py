import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import entropy

from training.methods.deepcluster.sampling import balanced_epoch

SIZES = (900, 50, 30, 15, 5)


def assigned() -> torch.Tensor:
    """Return clusters of very different sizes, in another order than their images."""
    clusters = torch.repeat_interleave(torch.arange(5), torch.tensor(SIZES))
    return clusters[torch.randperm(1000, generator=torch.Generator().manual_seed(1))]


def batch_entropies(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the entropy of the labels in each batch of 50, in nats."""
    return np.array([entropy(np.bincount(batch, minlength=5)) for batch in labels.reshape(-1, 50)])


def test_batches_are_as_even_as_uniform_labels() -> None:
    clusters, generator = assigned(), torch.Generator().manual_seed(0)
    found = np.concatenate([batch_entropies(clusters[balanced_epoch(clusters, generator)].numpy()) for _ in range(50)])
    uniform = batch_entropies(np.random.default_rng(0).integers(0, 5, 50_000))
    # Without balance it is 0.44.
    np.testing.assert_allclose(found.mean(), uniform.mean(), atol=0.005)


def test_every_cluster_has_the_same_share() -> None:
    clusters = assigned()
    chosen = balanced_epoch(clusters, torch.Generator().manual_seed(0))
    assert torch.bincount(clusters[chosen]).tolist() == [200] * 5
    # A small cluster's images come again, all equally often.
    assert torch.bincount(chosen, minlength=1000)[clusters == 4].tolist() == [40] * 5


def test_images_of_large_clusters_come_once() -> None:
    clusters = torch.tensor([0] * 7 + [2] * 4)
    chosen = balanced_epoch(clusters, torch.Generator().manual_seed(3))
    assert sorted(torch.bincount(clusters[chosen], minlength=3).tolist()) in ([0, 5, 6],)
    assert torch.bincount(chosen, minlength=11)[:7].max() == 1
