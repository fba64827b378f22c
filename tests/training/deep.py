"""Recipes of deep_clustering so small that a test trains them in a moment."""

from typing import Any

from training.methods.deep_clustering.config import DeepClusteringRecipe
from training.recipe.reading import validated

ARCHITECTURE = {
    "name": "tiny",
    "batch_size": 50,
    "layers": [
        {"type": "Input", "output_shape": [1, 28, 28]},
        {"type": "MaxPool2D*", "filter_size": [4, 4]},
        {"type": "Dense", "num_units": 32, "non_linearity": "rectify"},
        {"type": "Dense", "num_units": 4, "non_linearity": "linear"},
    ],
}
TINY_DEEP: dict[str, Any] = {
    "method": "deep_clustering",
    "data": {"train_images": 300, "test_images": 100, "coarse": None},
    "model": {"architecture": ARCHITECTURE, "experts": 4},
    "pretraining": {"epochs": 2, "learning_rate": 0.01},
    "clustering": {"starts": 2, "refresh": 4},
    "optimisation": {"epochs": 2, "learning_rate": 0.01},
    "augmentation": {"rotation": 5, "shift": 0.05},
    "reference": {"per_class": 5},
    "vis": 0,
}


def deep_recipe(**parts: Any) -> DeepClusteringRecipe:
    """Return a tiny recipe; keys of ``parts`` are laid over those of its parts."""
    content = dict(TINY_DEEP)
    for name, part in parts.items():
        content[name] = {**content.get(name, {}), **part} if isinstance(part, dict) else part
    recipe = validated(content, "tiny")
    assert isinstance(recipe, DeepClusteringRecipe)
    return recipe
