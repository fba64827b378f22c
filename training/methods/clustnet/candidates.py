"""Candidate clusterings of the images of one coarse label, and the choice among them without labels.

Each representation is clustered by UMAP (McInnes, Healy, Melville, arXiv:1802.03426) and a Gaussian mixture, for two
sizes of neighbourhood. Their consensus is one candidate more, see ``training.clustering.consensus``. The one is chosen
that has the best sum of three ranks: by the mean adjusted Rand index with the other clusterings; by the silhouette in
one manifold of all representations together, as silhouettes in a candidate's own space cannot be compared; and by how
well its representation's neighbourhoods keep the coarse labels apart. The consensus agrees with what it was made of, so
each clustering is compared with the consensus of the others. A representation also counts the more, the better its
neighbourhoods keep the coarse labels apart: colour and brightness do that badly on photographs, and clusterings by them
agree with one another all the same.

How much it counts, which representations there are and the sizes of neighbourhood were compared by the label-free
score of ``configs/mnist_discovery.yaml``, trained on 12,000 images of MNIST and scored on the 10,000 of the validation
part; no fine label and no other data were read. Seeds 0 and 1 of each:

- by the inverse of the error; pixels, edges and patches; 10 and 20 neighbours, as here: 2.769, 2.783
- all the same 2.737, 2.728; by its square 2.760, 2.748; by the log-odds (Nitzan, Paroush, "Optimal decision rules in
  uncertain dichotomous choice situations", International Economic Review 23(2), 1982) 2.730, 2.757
- edges and patches 2.772, 2.720; pixels and edges 2.764, 2.728; pixels and patches 2.752, 2.710; pixels alone 2.720,
  2.756; edges alone 2.753, 2.761; patches alone 1.621, 2.022
- 10 neighbours 2.743, 2.717; 10, 20 and 40 neighbours 2.736, 2.739; 20 neighbours 2.773, 2.785

20 neighbours alone were higher with both seeds, so three more were trained: 2.763, 2.774, 2.721 against 2.724, 2.744,
2.723 as here. They are higher with four of five seeds, by 0.014 on average, which is 1.7 of its standard errors: less
than the seeds differ by, so both sizes stay. Earlier versions of rule and list had been drawn up with accuracies in
sight; this comparison is what they stand on now.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture

from training.clustering.consensus import Labels, agreement, consensus, left_out_agreement
from training.clustering.manifold import manifold
from training.methods.clustnet.representations import Floats, reduced

NEIGHBOURS = (10, 20)
MIXTURE_STARTS = 5
CONSENSUS_STARTS = 10
CONSENSUS = "consensus"
# Images; the silhouette takes the square of their number.
SILHOUETTE_IMAGES = 2000


@dataclass(frozen=True)
class Candidate:
    """A clustering of one coarse group.

    Args:
        name: representation and neighbours, as in ``edges/10``, or ``consensus``.
        clusters: int64 [N], cluster of each image.
        agreement: weighted mean of its adjusted Rand index with the others, 1 at most.
        silhouette: silhouette in the manifold of all representations together, -1 to 1.
        weight: how much its representation counts; of a consensus the mean of all.
    """

    name: str
    clusters: Labels
    agreement: float
    silhouette: float
    weight: float


def candidates(
    representations: Mapping[str, Floats],
    weights: Mapping[str, float],
    clusters: int,
    seed: int,
    step: Callable[[], object] = lambda: None,
) -> list[Candidate]:
    """Return all candidate clusterings of a group, the best first.

    Args:
        representations: the group's images in each representation, float32 [N, features].
        weights: how much each representation counts, above 0.
        clusters: how many clusters there are.
        seed: seeds every random choice.
        step: called after each of ``steps_of(len(representations))`` steps.
    """
    rows = {name: reduced(features, seed) for name, features in representations.items()}
    titles = [(name, neighbours) for name in rows for neighbours in NEIGHBOURS]
    members = []
    for name, neighbours in titles:
        members.append(_clustered(rows[name], neighbours, clusters, seed))
        step()
    counts = np.array([weights[name] for name, _ in titles])
    together = manifold(_joined(rows, weights), NEIGHBOURS[-1], seed)
    step()
    agreements = [agreement(member, members, counts) for member in members]
    found = [
        Candidate(f"{name}/{neighbours}", member, shared, _silhouette(together, member, seed), weights[name])
        for (name, neighbours), member, shared in zip(titles, members, agreements, strict=True)
    ]
    common = consensus(members, counts, clusters, seed, CONSENSUS_STARTS)
    shared = left_out_agreement(members, counts, clusters, seed, CONSENSUS_STARTS)
    step()
    silhouette, weight = _silhouette(together, common, seed), float(np.mean(list(weights.values())))
    return ranked([*found, Candidate(CONSENSUS, common, shared, silhouette, weight)])


def steps_of(representations: int) -> int:
    """Return how many steps the candidates of a group take: a clustering each, the joint manifold and the consensus."""
    return representations * len(NEIGHBOURS) + 2


def ranked(found: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates by the sum of their ranks in agreement, silhouette and weight, the best first.

    Of equals the one of the higher agreement comes first.
    """
    ranks = rankdata([-candidate.agreement for candidate in found])
    ranks += rankdata([-candidate.silhouette for candidate in found])
    ranks += rankdata([-candidate.weight for candidate in found])
    order = sorted(range(len(found)), key=lambda index: (ranks[index], -found[index].agreement))
    return [found[index] for index in order]


def _joined(rows: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """Return all representations side by side, the variance of each its weight, float32 [N, features]."""
    least = np.finfo(np.float32).tiny
    scaled = [
        features * np.sqrt(weights[name] / np.maximum(features.var(axis=0).sum(), least))
        for name, features in rows.items()
    ]
    return np.concatenate(scaled, axis=1).astype(np.float32)


def _clustered(rows: Floats, neighbours: int, clusters: int, seed: int) -> Labels:
    """Return the cluster of each image, int64 [N]."""
    mixture = GaussianMixture(clusters, n_init=MIXTURE_STARTS, random_state=seed)
    found: Labels = mixture.fit_predict(manifold(rows, neighbours, seed).astype(np.float64)).astype(np.int64)
    return found


def _silhouette(rows: Floats, clusters: Labels, seed: int) -> float:
    """Return the mean silhouette of a sample of the images, 0 where they are all in one cluster."""
    chosen = np.random.default_rng(seed).permutation(len(rows))[:SILHOUETTE_IMAGES]
    few = len(np.unique(clusters[chosen])) < 2
    return 0.0 if few else float(silhouette_score(rows[chosen], clusters[chosen]))
