import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from clustnet.scores.scores import clustering_accuracy
from training.clustering.consensus import agreement, consensus, left_out_agreement

KINDS, COUNT = 3, 40
TRUTH = np.repeat(np.arange(KINDS), COUNT)


def _mistaken(share: float, seed: int) -> np.ndarray:
    """The truth with some images in random clusters, and the clusters in another order."""
    generator = np.random.default_rng(seed)
    labels = np.where(generator.random(len(TRUTH)) < share, generator.integers(KINDS, size=len(TRUTH)), TRUTH)
    return generator.permutation(KINDS)[labels]


def test_a_consensus_is_better_than_its_members() -> None:
    members = [_mistaken(0.3, seed) for seed in range(7)]
    found = consensus(members, np.ones(7), KINDS, seed=0)
    assert clustering_accuracy(found, TRUTH) > max(clustering_accuracy(member, TRUTH) for member in members)


def test_a_consensus_follows_the_weights() -> None:
    one, other = TRUTH, np.tile(np.arange(KINDS), COUNT)
    for weights, followed in (([1.0, 0.01], one), ([0.01, 1.0], other)):
        found = consensus([one, other], np.array(weights), KINDS, seed=0)
        assert clustering_accuracy(found, followed) == 1.0


def test_agreement_is_the_weighted_mean_rand_index() -> None:
    members, weights = [_mistaken(0.3, seed) for seed in range(3)], np.array([1.0, 2.0, 3.0])
    first, second, third = (adjusted_rand_score(TRUTH, member) for member in members)
    assert agreement(TRUTH, members, weights) == pytest.approx((first + 2 * second + 3 * third) / 6)
    among = [adjusted_rand_score(members[0], member) for member in members[1:]]
    assert agreement(members[0], members, weights) == pytest.approx((2 * among[0] + 3 * among[1]) / 5)


def test_consensus_never_meets_its_own_members() -> None:
    """The consensus of two agrees with each of them; what is left out is compared with the other alone."""
    one, other = TRUTH, np.tile(np.arange(KINDS), COUNT)
    expected = adjusted_rand_score(one, other)
    assert left_out_agreement([one, other], np.ones(2), KINDS, seed=0) == pytest.approx(expected)
    assert left_out_agreement([one, one.copy()], np.ones(2), KINDS, seed=0) == 1.0
