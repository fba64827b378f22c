"""Small hierarchies of made-up images, each class of a colour of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from training.grow.config import GrowRecipe
from training.grow.data import GrowImages
from training.grow.hierarchy import Hierarchy, Labels
from training.grow.network import GrownNetwork, GrownSpec

CLASSES = {
    "animal/canine/beagle": (220, 30, 30),
    "animal/canine/poodle": (220, 30, 180),
    "animal/feline": (220, 200, 30),
    "rock": (30, 30, 220),
}
HIERARCHY = Hierarchy.of(tuple(name.split("/")) for name in CLASSES)
SIDE = 8
SMALL = {"epochs": 2, "batch_size": 16, "learning_rate": 0.1}
# Enough to tell the classes apart.
ENOUGH = SMALL | {"epochs": 12}


def picture(name: str, generator: np.random.Generator, side: int = SIDE) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a noisy image of a class, uint8 [side, side, 3]."""
    pixels = generator.integers(0, 60, (side, side, 3))
    pixels[:, : side // 2] = (pixels[:, : side // 2] + np.array(CLASSES[name])).clip(0, 255)
    return pixels.astype(np.uint8)


def images_of(count: int = 12, hierarchy: Hierarchy = HIERARCHY) -> GrowImages:
    """Return ``count`` images of each class in memory, half of them for training."""
    generator = np.random.default_rng(0)
    names = ["/".join(leaf) for leaf in hierarchy.leaves for _ in range(count)]
    pixels = np.stack([picture(name, generator) for name in names])
    split = np.array(["train", "train", "validation", "test"] * (len(names) // 4))
    leaf = np.repeat(np.arange(len(hierarchy.leaves)), count)
    spec = GrownSpec(image_shape=(SIDE, SIDE, 3), mean=(0.3,) * 3, std=(0.3,) * 3, width=4)
    return GrowImages(hierarchy, torch.from_numpy(pixels), leaf, split, spec)


def write_folder(path: Path, count: int = 10) -> Path:
    """Write nested class folders of ``count`` images each."""
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (path / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(picture(name, generator, 12)).save(path / name / f"{number}.png")
    return path


def recipe_of(path: Path = Path("nowhere"), **keys: Any) -> GrowRecipe:
    """Return a small recipe."""
    content: Mapping[str, Any] = {
        "data": {"path": path, "size": (SIDE, SIDE)},
        "network": {"width": 4},
        "optimisation": SMALL,
        **keys,
    }
    return GrowRecipe.model_validate(content)


def all_answers(network: GrownNetwork, images: GrowImages) -> dict[Labels, torch.Tensor]:
    """Return the logits of all learnt nodes for all images."""
    network.eval()
    with torch.no_grad():
        return {node: network(images.images, node) for node in network.learnt}
