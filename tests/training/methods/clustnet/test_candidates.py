import numpy as np

from clustnet.scores.scores import clustering_accuracy
from training.methods.clustnet.candidates import candidates

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
    assert [candidate.agreement for candidate in found] == sorted((c.agreement for c in found), reverse=True)
    expected = {"good/10", "good/20", "misleading/10", "misleading/20", "consensus"}
    assert {candidate.name for candidate in found} == expected
