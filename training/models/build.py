"""The model that a recipe asks for."""

import math
from collections.abc import Sequence

from clustnet.errors import UserError
from training.models.deep_clusters import DeepClusters
from training.models.mixture import GatedExperts, MixtureOfExperts
from training.recipe.recipe import Recipe


def build_model(
    recipe: Recipe, image_shape: Sequence[int], mean: Sequence[float], std: Sequence[float]
) -> GatedExperts:
    """Return an untrained model.

    Args:
        recipe: says which.
        image_shape: shape of one raw image, (H, W) or (H, W, C).
        mean: per channel, of pixels scaled to 0..1.
        std: per channel, likewise.

    Raises:
        UserError: the architecture is for images of another shape.
    """
    if recipe.model.architecture is None:
        return MixtureOfExperts(recipe.model, image_shape, mean, std)
    architecture = recipe.model.architecture
    height, width, *channels = image_shape
    shape = ((channels or [1])[0], height, width)
    if architecture.image_shape not in (shape, (1, 1, math.prod(shape))):
        raise UserError(
            f"The architecture {architecture.name} reads images of {_by(architecture.image_shape)}, but those of "
            f"{recipe.data.name} are {_by(shape)}; name another as model.architecture."
        )
    return DeepClusters(architecture, recipe.clusters(), mean, std)


def _by(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))
