from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.errors import UserError
from training.methods.clustnet.pairing import NO_CLUSTER, Separability, assigned, paired, paired_clusters

# Images of a cluster.
COUNT = 60


def _images(looks: list[int]) -> np.ndarray:
    """Noise with a bright stripe where the look says, 60 of each."""
    images = np.random.default_rng(0).random((len(looks) * COUNT, 12, 12)).astype(np.float32) / 6
    for image, look in zip(images, np.repeat(looks, COUNT), strict=True):
        image[3 * look : 3 * look + 3] += 0.8
    return images.reshape(len(images), -1)


def _paired(*looks: list[int]) -> list[list[int]]:
    """Return the expert of each cluster of labels whose clusters have these looks."""
    pixels = [_images(label) for label in looks]
    clusters = [np.repeat(np.arange(len(label)), COUNT) for label in looks]
    found = paired(pixels, clusters, [len(label) for label in looks], np.random.default_rng(0))
    for experts in found:
        np.testing.assert_array_equal(experts, np.repeat(experts[::COUNT], COUNT))
    return [experts[::COUNT].tolist() for experts in found]


@pytest.mark.parametrize(("looks", "expected"), [([0, 1], [1, 0]), ([1, 0], [0, 1])])
def test_clusters_that_look_alike_share_no_expert(looks: list[int], expected: list[int]) -> None:
    assert _paired([0, 1], looks) == [[0, 1], expected]


def test_three_labels_share_experts_without_look_alikes() -> None:
    looks = [[0, 1, 2], [0, 1, 2], [2, 0, 1]]
    experts = _paired(*looks)
    for expert in range(3):
        assert len({label[found.index(expert)] for label, found in zip(looks, experts, strict=True)}) == 3


def test_one_label_keeps_its_clusters() -> None:
    assert _paired([0, 1, 2]) == [[0, 1, 2]]


def test_more_clusters_in_the_second_label() -> None:
    first, second = _paired([0], [0, 1, 2])
    assert first == [0]
    assert sorted(second) == [0, 1, 2]
    assert second[0] != 0  # look 0 cannot be separated from the first label's


def test_more_clusters_in_the_first_label() -> None:
    first, second = _paired([0, 1, 2], [1])
    assert first == [0, 1, 2]
    assert second[0] in (0, 2)


def _value(separability: Separability, experts: list[np.ndarray]) -> float:
    """Return the sum over each two clusters with one expert."""
    return sum(
        table[cluster, other]
        for (first, second), table in separability.items()
        for cluster, other in product(*map(range, table.shape))
        if experts[first][cluster] == experts[second][other]
    )


def _random(counts: list[int], seed: int) -> Separability:
    generator = np.random.default_rng(seed)
    labels = combinations(range(len(counts)), 2)
    return {(a, b): generator.random((counts[a], counts[b])) for a, b in labels}


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4), st.integers(0, 2**32 - 1))
def test_clusters_of_a_label_have_different_experts(counts: list[int], seed: int) -> None:
    experts = assigned(_random(counts, seed), counts)
    assert [len(found) for found in experts] == counts
    assert all(len(set(found.tolist())) == len(found) for found in experts)
    assert max(found.max() for found in experts) == max(counts) - 1
    assert experts[0].tolist() == list(range(counts[0]))


@pytest.mark.parametrize("counts", [[4, 4], [3, 5], [4, 2], [3, 3, 3], [4, 3, 4], [4, 4, 4], [3, 3, 2, 3]])
def test_the_assignment_is_nearly_always_the_best(counts: list[int]) -> None:
    """It is compared with every assignment; three labels or more may miss the best by a little."""
    cases, experts = 12, range(max(counts))
    choices = [list(permutations(experts, count)) for count in counts]
    choices[0] = [tuple(range(counts[0]))]
    shares = []
    for seed in range(cases):
        separability = _random(counts, seed)
        best = max(_value(separability, list(map(np.array, choice))) for choice in product(*choices))
        shares.append(_value(separability, assigned(separability, counts)) / best)
    assert max(shares) <= 1 + 1e-9
    assert min(shares) > (1 - 1e-9 if len(counts) == 2 else 0.97)
    assert np.mean(np.array(shares) > 1 - 1e-9) >= 0.8


def test_images_without_a_cluster_get_no_expert() -> None:
    pixels, clusters = _images([0, 1, 0, 1]), np.repeat([0, 1, 0, 1], COUNT)
    coarse = np.repeat([0, 0, 1, 1], COUNT)
    clusters[[3, 200]] = NO_CLUSTER
    indices, experts = paired_clusters(pixels.__getitem__, clusters, coarse, labels=2, experts=2, seed=0)
    assert indices.tolist() == np.flatnonzero(clusters != NO_CLUSTER).tolist()
    groups = [indices[coarse[indices] == label] for label in (0, 1)]
    generator = np.random.default_rng(0)
    wanted = paired([pixels[group] for group in groups], [clusters[group] for group in groups], [2, 2], generator)
    np.testing.assert_array_equal(experts, np.concatenate(wanted))


def test_more_clusters_than_experts_are_refused() -> None:
    with pytest.raises(UserError, match=r"has 3 clusters of one coarse label, but model\.experts is 2; raise it\.$"):
        paired_clusters(_images([0, 1, 2]).__getitem__, np.repeat([0, 1, 2], COUNT), np.zeros(180, np.int64), 1, 2, 0)
