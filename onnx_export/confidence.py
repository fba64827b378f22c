"""The confidence that an image is one of those a model was made for: how near it is to the training images.

Lee, Lee, Lee, Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
Attacks", arXiv:1807.03888, with the discovered cells in place of classes, so that no label is needed.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.models.inference import Routed, batches
from training.models.mixture import GatedExperts, MixtureOutput

# A cell with a smaller share of the images holds only mistakes.
MIN_CELL_SHARE = 0.01
# The share of the mean variance that is added to every variance, for features that hardly vary.
SHRINKAGE = 0.01
# At least this share of the features' mean square is added to each variance. Otherwise whitening would magnify the
# rounding of float32 where cells are narrow and far apart, as cells of a few training images are.
MIN_VARIANCE_SHARE = 0.001
# The least mean square of what components leave out of directions of length 1; anything smaller is rounding.
MIN_REST = 1e-2


class Confidence(nn.Module):
    """The confidence of images: features float32 [N, D] -> float32 [N], above 0 and at most 1.

    It is ``1 / (1 + d / D)``, where d is the squared Mahalanobis distance to the nearest cell's mean. For the images
    that it was fitted on, d is a little under D on average, so their confidence is about one half.

    Args:
        means: float [M, D] the mean features of M cells.
        covariance: float [D, D] the features' covariance within cells, positive definite.
    """

    means: Tensor
    whitening: Tensor

    def __init__(self, means: Tensor, covariance: Tensor) -> None:
        super().__init__()
        factor, size = torch.linalg.cholesky(covariance.double()), len(covariance)
        whitening = torch.linalg.solve_triangular(factor, torch.eye(size, dtype=torch.float64), upper=False).T
        whitening = whitening / size**0.5
        self.register_buffer("whitening", whitening.float())
        self.register_buffer("means", (means.double() @ whitening).float())

    @classmethod
    def whitened(cls, means: Tensor, whitening: Tensor) -> "Confidence":
        """Return the confidence with these whitened means, float32 [M, D], and this whitening map, float32 [D, D]."""
        made = cls(means, torch.eye(len(whitening)))
        made.means, made.whitening = means, whitening
        return made

    def forward(self, features: Tensor) -> Tensor:
        """Return the confidence of each image."""
        whitened = features @ self.whitening
        distances: Tensor = (whitened[:, None] - self.means).square().sum(dim=2)
        return 1 / (1 + distances.amin(dim=1))


def fit_confidence(features: Tensor, cells: NDArray[np.int64], rest: int | None = None) -> Confidence:
    """Return the confidence with the cells' means and their common covariance.

    Cells with fewer than ``MIN_CELL_SHARE`` of the images are left out.

    Args:
        features: float32 [N, D] of training images.
        cells: int64 [N] the cell of each image.
        rest: the column, if any, that holds the length of what the other columns leave out of an image. The square of
            that length, divided by its mean over the training images, then makes up half of d / D.
    """
    if rest is not None:
        return _with_rest(fit_confidence(_without(features, rest), cells), features[:, rest].double(), rest)
    found, counts = np.unique(cells, return_counts=True)
    kept = found[counts >= min(MIN_CELL_SHARE * len(cells), counts.max())]
    groups = [features[torch.from_numpy(cells == cell)].double() for cell in kept]
    means = torch.stack([group.mean(dim=0) for group in groups])
    residuals = torch.cat([group - mean for group, mean in zip(groups, means, strict=True)])
    covariance = residuals.T @ residuals / len(residuals)
    mean_square = torch.cat(groups).square().mean()
    added = torch.maximum(SHRINKAGE * covariance.diagonal().mean(), MIN_VARIANCE_SHARE * mean_square)
    # The least addition keeps the covariance positive definite even if all features are zero.
    return Confidence(means, covariance + added.clamp(min=1e-14) * torch.eye(len(covariance)))


def _with_rest(confidence: Confidence, lengths: Tensor, rest: int) -> Confidence:
    """Return a confidence that reads one more column, whose square counts as much as all others together."""
    others = torch.tensor([column for column in range(len(confidence.whitening) + 1) if column != rest])
    size = len(others) + 1
    whitening = torch.zeros(size, size, dtype=torch.float64)
    whitening[others[:, None], others] = confidence.whitening.double() / 2**0.5
    whitening[rest, rest] = 1 / (2 * lengths.square().mean().clamp(min=MIN_REST)).sqrt()
    means = torch.zeros(len(confidence.means), size)
    means[:, others] = confidence.means / 2**0.5
    return Confidence.whitened(means, whitening.float())


def _without(features: Tensor, column: int) -> Tensor:
    return torch.cat([features[:, :column], features[:, column + 1 :]], dim=1)


def threshold(confidence: NDArray[np.float32], share: float) -> float:
    """Return the confidence below which ``share`` of the images lie, as a float32 value that JSON keeps exactly."""
    return float(np.float32(np.quantile(confidence, share)))


def features(embeddings: Tensor, logits: Tensor) -> Tensor:
    """Return what distinguishes images: the gate's embeddings and the logits of the experts that decide.

    The experts help where the gate alone has learnt little.

    Args:
        embeddings: float32 [N, D].
        logits: float32 [N, L], see ``deciding_logits``.

    Returns:
        float32 [N, D + L].
    """
    return torch.cat([embeddings, logits], dim=1)


def deciding_logits(model: GatedExperts, output: MixtureOutput, hard: bool) -> Tensor:
    """Return the experts' ``log_odds`` that distinguish images.

    They are those of all experts, float32 [N, E (K - 1)], or if ``hard`` those of the chosen expert, [N, K - 1], so
    that no other expert is needed. If the experts answer the same for every image, there are none, [N, 0].
    """
    if not model.experts_learn:
        return output.expert_logit.flatten(1)[:, :0]
    if not hard:
        return log_odds(output.expert_logit).flatten(1)
    chosen = chosen_expert(output.log_routing.exp())[:, None, None]
    return log_odds(output.expert_logit.gather(1, chosen.expand(-1, -1, output.expert_logit.shape[2]))).flatten(1)


def log_odds(expert_logit: Tensor) -> Tensor:
    """Return the log odds of every coarse label against the first, float32 [..., K - 1].

    With three or more coarse labels the logits themselves are not unique: adding a number to all changes nothing.

    Args:
        expert_logit: float32 [..., L], as in ``training.models.mixture.MixtureOutput``.
    """
    if expert_logit.shape[-1] <= 1:
        return expert_logit
    return expert_logit[..., 1:] - expert_logit[..., :1]


def chosen_expert(routing: Tensor) -> Tensor:
    """Return the most probable expert of each image, int64 [N], by the routing distribution, float32 [N, E]."""
    return routing.argmax(dim=1)


@torch.no_grad()
def route_with_features(model: GatedExperts, images: NDArray[np.uint8], hard: bool) -> tuple[Routed, Tensor]:
    """Return the routes of images and their features; the model is in evaluation mode on the CPU.

    Args:
        model: the trained model.
        images: uint8 [N, ...].
        hard: whether one expert alone decides.

    Returns:
        What ``training.models.inference.route`` returns, and ``features``.
    """
    outputs, found = [], []
    for part in batches(images):
        pixels = model.normalise(part)
        embeddings = model.encoder(pixels)
        outputs.append(model.route_embedded(pixels, embeddings))
        found.append(features(embeddings, deciding_logits(model, outputs[-1], hard)))
    return Routed.of(outputs, hard), torch.cat(found)
