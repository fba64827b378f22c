"""The recipe by which ``clustnet discover`` trains gate and experts."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.discover.collection import Collection
from training.discover.reading import IMAGES
from training.recipe.reading import validated
from training.recipe.recipe import BaseRecipe

PARTITION = "partition.csv"
ON_EMBEDDINGS, ON_PIXELS = "embedding_clustnet", "discovered"
# Random views of each training image that are embedded for training.
VIEWS = 4
# Without an encoder: images per step, and the fewest steps per epoch, so that a few images are trained as long.
BATCH, EPOCH_STEPS = 128, 50
EPOCHS, IMITATION_EPOCHS = 8, 4
# Largest side, in pixels, of images that are trained on without an encoder.
LARGEST_SIDE = 32
# Augmentations of photographs and of drawings. Neither mirrors images, as subtypes may differ by just that.
PHOTOGRAPHS = {"crop": 0.3, "brightness": 0.2, "contrast": 0.2}
COLOURS = {"saturation": 0.2, "hue": 0.02}
DRAWINGS = {"rotation": 10.0, "scale": 0.1, "shear": 0.15, "shift": 0.1, "elastic": 0.035}


def recipe_of(
    found: Collection,
    shape: Sequence[int],
    clusters: Mapping[str, int],
    encoders: Sequence[str],
    seed: int,
    epochs: int | None,
) -> BaseRecipe:
    """Return the recipe of a run.

    Args:
        found: the images of the run, whose folder holds the partition.
        shape: shape of the small images that are compared: height, width and, in colour, 3.
        clusters: number of subtypes of each coarse label.
        encoders: encoders whose embeddings are trained on; empty to train on pixels.
        seed: seeds all random numbers.
        epochs: training epochs; None for the method's default.
    """
    run = found.run
    content: dict[str, Any] = {
        "seed": seed,
        # The report of 'clustnet discover' shows what was found, and 'clustnet report' draws the rest.
        "vis": 0,
        "data": {"name": "folder", "path": str(run / IMAGES)},
        "partition": {"file": str(run / PARTITION)},
    }
    if encoders:
        content |= _on_embeddings(clusters, encoders, content)
    else:
        content |= _on_pixels(shape, clusters, content)
    if epochs is not None:
        content["optimisation"] = content.get("optimisation", {}) | {"epochs": epochs}
        content["partition"] |= {"epochs": epochs}
    return validated(content, "the recipe of 'clustnet discover'")


def _on_embeddings(clusters: Mapping[str, int], encoders: Sequence[str], content: Mapping[str, Any]) -> dict[str, Any]:
    model = {"encoder": ",".join(encoders), "views": VIEWS, "experts": max(clusters.values())}
    partition = content["partition"] | {"clusters": dict(clusters)}
    return {"method": ON_EMBEDDINGS, "model": model, "partition": partition}


def _on_pixels(shape: Sequence[int], clusters: Mapping[str, int], content: Mapping[str, Any]) -> dict[str, Any]:
    colour = len(shape) == 3
    model = {
        "experts": max(clusters.values()),
        "expert": "small_cnn",
        "expert_channels": [8, 16],
        "channels": [32, 64],
        "embedding": 128,
        "batch_norm": True,
    }
    optimisation = {
        "epochs": EPOCHS,
        "epoch_steps": EPOCH_STEPS,
        "batch_size": BATCH,
        "learning_rate": 0.002,
        "schedule": "cosine",
        "average_over": 0.1,
    }
    views = PHOTOGRAPHS | COLOURS if colour else PHOTOGRAPHS if max(shape) >= 64 else DRAWINGS
    return {
        "method": ON_PIXELS,
        "data": content["data"] | {"size": [min(LARGEST_SIDE, side) for side in shape[:2]], "colour": colour},
        "model": model,
        "partition": content["partition"] | {"epochs": IMITATION_EPOCHS, "clusters": dict(clusters)},
        "augmentation": views,
        "loss": {"mutual_information": 0.3, "shares": "partition"},
        "optimisation": optimisation,
    }
