"""Candidate clusterings of one coarse group, and the choice among them without labels.

Each representation is clustered by UMAP (McInnes, Healy, Melville, arXiv:1802.03426) and a Gaussian mixture, for two
sizes of neighbourhood. Their consensus is one candidate more. The one is chosen that agrees best with all of them: the
highest mean normalised mutual information, see ``training.consensus``. In it a representation counts the more, the
better its neighbourhoods keep the two coarse groups apart: colour and brightness do that badly on photographs, and
clusterings by them agree with one another all the same.

How much it counts was chosen by the label-free score of ``configs/mnist_discovery.yaml``, trained on 12,000 images of
MNIST and scored on the 10,000 of the validation part, with seeds 0 and 1; no fine label and no other data were read.
An earlier version, which took the square, had been found with fine labels in sight; this comparison is what the rule
stands on now. The list of representations and the sizes of neighbourhood were drawn up while accuracies of them on
other data sets were looked at, and have not been compared by the label-free score yet.

- all the same: 2.737, 2.728
- by the inverse of the error, as here: 2.769, 2.783
- by its square: 2.760, 2.748
- by the log-odds (Nitzan, Paroush, "Optimal decision rules in uncertain dichotomous choice situations", International
  Economic Review 23(2), 1982): 2.730, 2.757
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.mixture import GaussianMixture

from training.consensus import Labels, agreement, consensus
from training.manifold import manifold
from training.partition.representations import Floats, reduced

NEIGHBOURS = (10, 20)
MIXTURE_STARTS = 5
CONSENSUS = "consensus"


@dataclass(frozen=True)
class Candidate:
    """A clustering of one coarse group.

    Args:
        name: representation and neighbours, as in ``edges/10``, or ``consensus``.
        clusters: int64 [N], cluster of each image.
        agreement: weighted mean of its normalised mutual information with the others, 0 to 1.
    """

    name: str
    clusters: Labels
    agreement: float


def candidates(
    representations: Mapping[str, Floats], weights: Mapping[str, float], clusters: int, seed: int
) -> list[Candidate]:
    """Return all candidate clusterings of a group, the best first.

    Args:
        representations: of the group's images, each float32 [N, features].
        weights: how much each representation counts, above 0.
        clusters: how many clusters there shall be.
        seed: of everything random.
    """
    names, members = [], []
    for name, rows in representations.items():
        components = reduced(rows, seed)
        for neighbours in NEIGHBOURS:
            names.append((name, f"{name}/{neighbours}"))
            members.append(_clustered(components, neighbours, clusters, seed))
    counts = np.array([weights[name] for name, _ in names])
    named = [
        *zip([title for _, title in names], members, strict=True),
        (CONSENSUS, consensus(members, counts, clusters, seed)),
    ]
    found = [Candidate(title, labels, agreement(labels, members, counts)) for title, labels in named]
    return sorted(found, key=lambda candidate: -candidate.agreement)


def _clustered(rows: Floats, neighbours: int, clusters: int, seed: int) -> Labels:
    """Return the cluster of each image, int64 [N]."""
    mixture = GaussianMixture(clusters, n_init=MIXTURE_STARTS, random_state=seed)
    found: Labels = mixture.fit_predict(manifold(rows, neighbours, seed).astype(np.float64)).astype(np.int64)
    return found
