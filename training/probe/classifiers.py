"""How well classes can be read off values learnt without them: by a linear classifier and by nearest neighbours."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from training.engine.seeding import generator_of

RATES, DECAYS = (0.3, 1.0, 3.0), (0.0, 1e-4)
EPOCHS, BATCH, MOMENTUM = 20, 256, 0.9
# The share of the training images by which step size and weight decay are chosen.
HELD_OUT = 0.2
NEIGHBOURS = 10
# Keeps values that never change from being divided by 0.
SMALLEST_DEVIATION = 1e-6

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class Candidate(NamedTuple):
    """How a linear classifier is trained: step size, for rows of length 1 on average, and weight decay."""

    rate: float
    decay: float


class Probe(NamedTuple):
    """What a linear classifier reached.

    Args:
        accuracy: the accuracy on the test images.
        chosen: how the classifier was trained.
    """

    accuracy: float
    chosen: Candidate


def linear_probe(train: Floats, labels: Integers, test: Floats, truth: Integers, seed: int) -> Probe:
    """Return the accuracy of a linear classifier on test images.

    A fifth of the training images is held out to choose step size and weight decay by accuracy; with the best of them,
    a classifier is then trained on all training images.

    Args:
        train: float32 [N, V], values of the training images.
        labels: int64 [N], classes of the training images.
        test: float32 [M, V], values of the test images.
        truth: int64 [M], classes of the test images.
        seed: seeds the choice of the held-out images and the order of images.
    """
    rows, unseen = (torch.from_numpy(part) for part in scaled(train, test))
    wanted, generator = torch.from_numpy(labels), generator_of(seed)
    classes = int(max(labels.max(), truth.max())) + 1
    order = torch.randperm(len(rows), generator=generator)
    held, kept = torch.tensor_split(order, [int(HELD_OUT * len(rows))])
    candidates = [Candidate(*pair) for pair in itertools.product(RATES, DECAYS)]
    trial = train_linear(rows[kept], wanted[kept], classes, candidates, generator)
    accuracies = (guess(trial, rows[held]) == wanted[held]).float().mean(dim=1)
    chosen = candidates[int(accuracies.argmax())]
    final = train_linear(rows, wanted, classes, [chosen], generator)
    return Probe(float((guess(final, unseen)[0].numpy() == truth).mean()), chosen)


def scaled(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Return both, scaled so that the training images have means 0, equal deviations and rows of mean length 1."""
    mean = train.mean(axis=0)
    factor = np.float32(1 / math.sqrt(train.shape[1])) / train.std(axis=0).clip(min=SMALLEST_DEVIATION)
    return (train - mean) * factor, (test - mean) * factor


def train_linear(
    rows: Tensor, labels: Tensor, classes: int, candidates: list[Candidate], generator: torch.Generator
) -> Tensor:
    """Return linear classifiers trained all at once by SGD with momentum and a cosine schedule.

    Args:
        rows: float32 [N, V].
        labels: int64 [N], from 0 to C - 1.
        classes: C.
        candidates: G ways to train.
        generator: draws the order of the rows.

    Returns:
        Weights and, in the last row, biases, float32 [V + 1, G, C].
    """
    rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
    rates = torch.tensor([candidate.rate for candidate in candidates]).view(1, -1, 1)
    decays = torch.tensor([candidate.decay for candidate in candidates]).view(1, -1, 1)
    weights = torch.zeros(rows.shape[1], len(candidates), classes)
    velocity, targets = torch.zeros_like(weights), torch.eye(classes)[labels]
    steps = EPOCHS * math.ceil(len(rows) / BATCH)
    chosen = (
        part for _ in range(EPOCHS) for part in torch.split(torch.randperm(len(rows), generator=generator), BATCH)
    )
    for step, batch in enumerate(chosen):
        own = rows[batch]
        errors = (own @ weights.flatten(1)).view(len(own), *weights.shape[1:]).softmax(dim=2) - targets[batch][:, None]
        gradient = (own.T @ errors.flatten(1)).view_as(weights) / len(batch)
        velocity.mul_(MOMENTUM).add_(gradient).addcmul_(decays, weights)
        weights.addcmul_(rates * (1 + math.cos(math.pi * step / steps)) / 2, velocity, value=-1)
    return weights


def guess(weights: Tensor, rows: Tensor) -> Tensor:
    """Return the class that each classifier of ``train_linear`` finds most probable for each row, int64 [G, N]."""
    logits = (rows @ weights[:-1].flatten(1)).view(len(rows), *weights.shape[1:]) + weights[-1]
    return logits.argmax(dim=2).T


def neighbour_accuracy(train: Floats, labels: Integers, test: Floats, truth: Integers) -> float:
    """Return the accuracy on test images of a vote of their ten nearest training images, by cosine distance.

    The arguments are those of ``linear_probe``.
    """
    voters = KNeighborsClassifier(min(NEIGHBOURS, len(train)), metric="cosine", algorithm="brute").fit(train, labels)
    return float((voters.predict(test) == truth).mean())
