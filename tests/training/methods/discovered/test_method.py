"""The method on pixels whose partition was made before."""

from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator

from clustnet.errors import UserError
from tests.image_folder import write_coarse_folder
from training.data.data import hide_fine_labels, load_split
from training.methods.discovered.config import DiscoveredRecipe
from training.methods.discovered.method import DiscoveredMethod
from training.recipe.reading import validated


def _method(tmp_path: Path, table: str | None = None) -> tuple[DiscoveredMethod, tuple[str, ...]]:
    photos = write_coarse_folder(tmp_path / "photos", images=8)
    content = {
        "method": "discovered",
        "data": {"name": "folder", "path": str(photos), "size": [16, 16], "colour": True},
        "model": {"experts": 2, "channels": [4, 8], "embedding": 16},
        "partition": {"file": str(tmp_path / "partition.csv")},
    }
    recipe = validated(content, "recipe")
    assert isinstance(recipe, DiscoveredRecipe)
    data = load_split(recipe.data, "train")
    rows = [f"{file},{int('right' in file)}" for file in data.files or ()]
    (tmp_path / "partition.csv").write_text(table or "\n".join(["file,cluster", *rows]))
    return DiscoveredMethod(hide_fine_labels(data), recipe, Accelerator(cpu=True)), data.files or ()


def test_each_cluster_has_an_expert(tmp_path: Path) -> None:
    method, files = _method(tmp_path)
    made = method._initial_partition()
    right = np.array(["right" in file for file in files])[made.indices]
    coarse = method.data.coarse.numpy()[made.indices]
    assert len(made.indices) == 24
    for label in range(3):
        inside = coarse == label
        assert len(set(made.experts[inside & right])) == len(set(made.experts[inside & ~right])) == 1
        assert set(made.experts[inside]) == {0, 1}


def test_a_partition_of_other_images_is_refused(tmp_path: Path) -> None:
    method, _ = _method(tmp_path, "file,cluster\nelsewhere.png,0\n")
    with pytest.raises(UserError, match="lists none of the training images"):
        method._initial_partition()
