import numpy as np
import pytest
import torch

from clustnet.errors import UserError
from clustnet.scores import clustering_accuracy
from training.data import CoarseData
from training.partition import partition

KINDS = 3


@pytest.fixture(scope="module")
def separable() -> tuple[CoarseData, np.ndarray]:
    """Images of six kinds, three in each coarse group, that nobody could confuse; and their kinds."""
    generator = np.random.default_rng(0)
    kinds = np.repeat(np.arange(2 * KINDS), 40)
    images = generator.integers(0, 40, (len(kinds), 12, 12)).astype(np.uint8)
    for image, kind in zip(images, kinds, strict=True):
        image[2 * kind : 2 * kind + 2] += 200
    targets = torch.from_numpy((kinds >= KINDS).astype(np.float32))
    return CoarseData(torch.from_numpy(images), targets, (0.5,), (0.25,)), kinds


def test_each_kind_gets_an_expert_of_its_own_within_its_group(separable: tuple[CoarseData, np.ndarray]) -> None:
    data, kinds = separable
    found = partition(data, KINDS, 1000, seed=0)
    assert sorted(found.indices.tolist()) == list(range(len(kinds)))
    for group in (kinds < KINDS, kinds >= KINDS):
        inside = group[found.indices]
        assert clustering_accuracy(found.experts[inside], kinds[found.indices][inside]) == 1.0


def test_a_sample_of_each_group_is_parted_and_the_seed_decides_it(separable: tuple[CoarseData, np.ndarray]) -> None:
    data, kinds = separable
    first, again, other = (partition(data, KINDS, 50, seed) for seed in (1, 1, 2))
    assert [(kinds[first.indices] >= KINDS).sum(), len(first.indices)] == [50, 100]
    np.testing.assert_array_equal(first.indices, again.indices)
    np.testing.assert_array_equal(first.experts, again.experts)
    assert not np.array_equal(first.indices, other.indices)


def test_too_few_images_are_named(separable: tuple[CoarseData, np.ndarray]) -> None:
    with pytest.raises(UserError, match="A coarse group has 120 training images, too few for a partition into 13"):
        partition(separable[0], 13, 1000, seed=0)


def test_clusters_that_a_weak_classifier_cannot_tell_apart_do_not_share_an_expert() -> None:
    """Kind 0 of one group looks like kind 0 of the other, and kind 1 like kind 1."""
    generator = np.random.default_rng(0)
    looks = np.tile(np.repeat([0, 1], 60), 2)
    images = generator.integers(0, 40, (240, 12, 12)).astype(np.uint8)
    for image, look in zip(images, looks, strict=True):
        image[6 * look : 6 * look + 3] += 200
    targets = torch.arange(240) >= 120
    found = partition(CoarseData(torch.from_numpy(images), targets.float(), (0.5,), (0.25,)), 2, 1000, seed=0)
    shared = [{(int(looks[i]), bool(targets[i])) for i in found.indices[found.experts == e]} for e in (0, 1)]
    assert sorted(map(sorted, shared)) == [[(0, False), (1, True)], [(0, True), (1, False)]]
