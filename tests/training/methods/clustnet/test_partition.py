import numpy as np
import pytest
import torch

from clustnet.errors import UserError
from clustnet.scores.scores import clustering_accuracy
from training.data.data import CoarseData
from training.methods.clustnet.candidates import Candidate
from training.methods.clustnet.partition import Trial, partition

KINDS, COUNT = 3, 40
SIZES = [((KINDS,), True), ((KINDS, KINDS), False), ((2, KINDS), False), ((2, 1, KINDS), True)]


def separable(counts: tuple[int, ...], colour: bool = False) -> tuple[CoarseData, np.ndarray]:
    """Return images of kinds that nobody could confuse, so many of each coarse label; and their kinds."""
    generator = np.random.default_rng(0)
    kinds = np.repeat(np.arange(sum(counts)), COUNT)
    coarse = np.repeat(np.repeat(np.arange(len(counts)), counts), COUNT)
    shape = (len(kinds), 12, 12, 3) if colour else (len(kinds), 12, 12)
    images = generator.integers(0, 40, shape).astype(np.uint8)
    for image, kind in zip(images, kinds, strict=True):
        image[2 * kind : 2 * kind + 2] += 200
    labels = tuple(f"label {label}" for label in range(len(counts)))
    channels = 3 if colour else 1
    data = CoarseData(torch.from_numpy(images), torch.from_numpy(coarse), labels, (0.5,) * channels, (0.25,) * channels)
    return data, kinds


@pytest.mark.parametrize(("counts", "colour"), SIZES)
def test_each_kind_gets_its_own_expert(counts: tuple[int, ...], colour: bool) -> None:
    data, kinds = separable(counts, colour)
    found, trial = partition(data, counts, 1000, seed=0)
    assert sorted(found.indices.tolist()) == list(range(len(kinds)))
    coarse = data.coarse.numpy()[found.indices]
    for label, count in enumerate(counts):
        inside = coarse == label
        assert clustering_accuracy(found.experts[inside], kinds[found.indices][inside]) == 1.0
        assert len(set(found.experts[inside])) == count
    assert set(found.experts) == set(range(max(counts)))
    assert set(trial.errors) == ({"pixels", "edges", "patches"} if len(counts) > 1 else set())
    assert len(trial.candidates) == len(counts)
    for group in trial.candidates:
        assert "consensus" in [found.name for found in group]


def test_one_representation_is_enough() -> None:
    data, kinds = separable((KINDS, KINDS))
    found, trial = partition(data, (KINDS, KINDS), 1000, 0, ("edges",))
    assert set(trial.errors) == {"edges"}
    assert {candidate.name for group in trial.candidates for candidate in group} == {
        "edges/10",
        "edges/20",
        "consensus",
    }
    assert clustering_accuracy(found.experts[: len(kinds) // 2], kinds[found.indices][: len(kinds) // 2]) == 1.0


def test_the_seed_decides_the_sample_and_its_experts() -> None:
    data, kinds = separable((KINDS, KINDS))
    first, again, other = (partition(data, (KINDS, KINDS), 50, seed)[0] for seed in (1, 1, 2))
    assert [(kinds[first.indices] >= KINDS).sum(), len(first.indices)] == [50, 100]
    np.testing.assert_array_equal(first.indices, again.indices)
    np.testing.assert_array_equal(first.experts, again.experts)
    assert not np.array_equal(first.indices, other.indices)


def test_too_few_images_are_named() -> None:
    data, _ = separable((KINDS, KINDS))
    with pytest.raises(UserError, match=r"'label 1' has 120 training images for .* too few for 13 clusters"):
        partition(data, (5, 13), 1000, seed=0)
    with pytest.raises(UserError, match=r"'label 0' has 3 training images for .* too few for 5 clusters; .* no less"):
        partition(data, (5, 5), 3, seed=0)


def test_the_trial_is_described_in_lines() -> None:
    clusters = np.array([0, 1])
    first = [Candidate("consensus", clusters, 0.91, 0.5, 1.0), Candidate("edges/10", clusters, 0.9, 0.4, 1.0)]
    trial = Trial({"pixels": 0.1, "edges": 0.05}, (first, first[1:]))
    assert trial.lines(("0-4", "5-9")) == [
        "partition: neighbours of another coarse label  pixels 0.100  edges 0.050",
        "partition of 0-4 in 2 clusters (agreement, silhouette): consensus 0.910, 0.500  edges/10 0.900, 0.400",
        "partition of 5-9 in 2 clusters (agreement, silhouette): edges/10 0.900, 0.400",
    ]
    assert Trial({}, (first[1:],)).lines(("all",)) == [
        "partition of all in 2 clusters (agreement, silhouette): edges/10 0.900, 0.400"
    ]
