"""One way to train per file, found by the name that recipes give it."""

from collections.abc import Callable

from accelerate import Accelerator

from training.data.data import CoarseData
from training.methods.clustnet.method import ClustNet
from training.methods.deep_clustering.method import DeepClustering
from training.methods.method import Method
from training.recipe.recipe import Recipe

METHODS: dict[str, Callable[[CoarseData, Recipe, Accelerator], Method]] = {
    "clustnet": ClustNet,
    "deep_clustering": DeepClustering,
}
