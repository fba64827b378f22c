"""Recipes and data so small that a test trains them in a moment."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from clustnet.datasets import LabelledImages
from training.data.data import CoarseData, hide_fine_labels
from training.methods.clustnet.config import ClustNetRecipe
from training.recipe.reading import validated

TINY = {
    "data.train_images": 200,
    "data.test_images": 100,
    "model.experts": 3,
    "model.channels": [4, 8],
    "model.embedding": 16,
    "optimisation.epochs": 2,
    "optimisation.batch_size": 50,
    "reference.per_class": 5,
    "vis": 0,
}


def tiny_recipe(keys: Mapping[str, Any] | None = None) -> ClustNetRecipe:
    """Return a tiny recipe with ``keys``, ``{"optimisation.epochs": 3}``, laid over it."""
    content: dict[str, Any] = {}
    for key, value in (TINY | dict(keys or {})).items():
        part, _, name = key.rpartition(".")
        (content.setdefault(part, {}) if part else content)[name] = value
    recipe = validated(content, "tiny")
    assert isinstance(recipe, ClustNetRecipe)
    return recipe


def tiny_words(keys: Mapping[str, Any] | None = None) -> list[str]:
    """Return the tiny recipe's keys, with ``keys`` laid over them, as the words of a command line."""
    return [f"--{key}={value}" for key, value in (TINY | dict(keys or {})).items()]


def noise(images: int, shape: tuple[int, ...] = (28, 28), seed: int = 0) -> torch.Tensor:
    """Return random images, uint8 [N, *shape]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (images, *shape), generator=generator, dtype=torch.uint8)


def coarse(labelled: LabelledImages, count: int) -> CoarseData:
    """Return the first images with their coarse labels alone."""
    return hide_fine_labels(labelled.first(count))


def same_state(one: Any, other: Any) -> bool:
    """Return whether two states, nested dicts and lists of tensors and values, are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.numpy().tobytes() == other.numpy().tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_state, one, other))
    return bool(np.all(one == other))
