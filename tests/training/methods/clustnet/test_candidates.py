import numpy as np

from clustnet.scores.scores import clustering_accuracy
from training.methods.clustnet.candidates import Candidate, candidates, ranked

KINDS, COUNT = 3, 40
TRUTH = np.repeat(np.arange(KINDS), COUNT)


def test_the_chosen_one_follows_the_representation_that_counts() -> None:
    """Two representations show three clear kinds each, but not the same ones."""
    generator = np.random.default_rng(0)
    misleading = np.tile(np.arange(KINDS), COUNT)
    rows = {
        name: (10 * np.eye(KINDS)[kinds] + generator.normal(size=(len(TRUTH), KINDS))).astype(np.float32)
        for name, kinds in (("good", TRUTH), ("misleading", misleading))
    }
    found = candidates(rows, {"good": 1.0, "misleading": 0.1}, KINDS, seed=0)
    assert clustering_accuracy(found[0].clusters, TRUTH) == 1.0
    expected = {"good/10", "good/20", "misleading/10", "misleading/20", "consensus"}
    assert {candidate.name for candidate in found} == expected


def test_three_ranks_decide_and_agreement_breaks_ties() -> None:
    clusters = np.zeros(2, np.int64)
    figures = {"agrees": (0.9, 0.1, 1.0), "apart": (0.1, 0.9, 1.0), "both": (0.8, 0.8, 0.5), "neither": (0.2, 0.2, 1.0)}
    found = ranked([Candidate(name, clusters, *three) for name, three in figures.items()])
    # The ranks are 1 + 4 + 2, 4 + 1 + 2, 2 + 2 + 4 and 3 + 3 + 2.
    assert [candidate.name for candidate in found] == ["agrees", "apart", "both", "neither"]
