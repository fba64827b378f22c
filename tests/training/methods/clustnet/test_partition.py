import numpy as np
import pytest
import torch

from clustnet.errors import UserError
from clustnet.scores.scores import clustering_accuracy
from training.data.data import CoarseData
from training.methods.clustnet.candidates import Candidate
from training.methods.clustnet.partition import Trial, partition

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
    found, trial = partition(data, (KINDS, KINDS), 1000, seed=0)
    assert sorted(found.indices.tolist()) == list(range(len(kinds)))
    for group in (kinds < KINDS, kinds >= KINDS):
        inside = group[found.indices]
        assert clustering_accuracy(found.experts[inside], kinds[found.indices][inside]) == 1.0
    assert set(trial.errors) == {"pixels", "edges", "patches"}
    for group in trial.candidates:
        assert [found.agreement for found in group] == sorted((found.agreement for found in group), reverse=True)
        assert "consensus" in [found.name for found in group]


def test_a_sample_of_each_group_is_parted_and_the_seed_decides_it(separable: tuple[CoarseData, np.ndarray]) -> None:
    data, kinds = separable
    first, again, other = (partition(data, (KINDS, KINDS), 50, seed)[0] for seed in (1, 1, 2))
    assert [(kinds[first.indices] >= KINDS).sum(), len(first.indices)] == [50, 100]
    np.testing.assert_array_equal(first.indices, again.indices)
    np.testing.assert_array_equal(first.experts, again.experts)
    assert not np.array_equal(first.indices, other.indices)


def test_too_few_images_are_named(separable: tuple[CoarseData, np.ndarray]) -> None:
    with pytest.raises(UserError, match="A coarse group has 120 training images to part, too few for 13 clusters"):
        partition(separable[0], (5, 13), 1000, seed=0)
    with pytest.raises(UserError, match=r"has 3 training images to part, too few for 5 clusters; .* partition.images"):
        partition(separable[0], (5, 5), 3, seed=0)


def test_groups_may_have_different_numbers_of_classes(separable: tuple[CoarseData, np.ndarray]) -> None:
    data, kinds = separable
    kept = kinds != 0  # the first group has two kinds left
    fewer = CoarseData(data.images[torch.from_numpy(kept)], data.targets[torch.from_numpy(kept)], (0.5,), (0.25,))
    found, _ = partition(fewer, (KINDS - 1, KINDS), 1000, seed=0)
    seen = kinds[kept][found.indices]
    for group in (seen < KINDS, seen >= KINDS):
        assert clustering_accuracy(found.experts[group], seen[group]) == 1.0
    assert set(found.experts[seen < KINDS]) == {0, 1}
    assert set(found.experts[seen >= KINDS]) == {0, 1, 2}


def test_the_trial_is_told_in_lines() -> None:
    clusters = np.zeros(2, np.int64)
    first = [Candidate("consensus", clusters, 0.91), Candidate("edges/10", clusters, 0.9)]
    trial = Trial({"pixels": 0.1, "edges": 0.05}, (first, first[1:]))
    assert trial.lines(("0-4", "5-9")) == [
        "partition: neighbours of the other group  pixels 0.100  edges 0.050",
        "partition of 0-4: consensus 0.910  edges/10 0.900",
        "partition of 5-9: edges/10 0.900",
    ]
