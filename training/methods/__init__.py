"""One way to train per file, found by the name that recipes give it."""

from collections.abc import Callable

from accelerate import Accelerator

from training.data import CoarseData
from training.methods.clustnet import ClustNet
from training.methods.deep_clustering import DeepClustering
from training.methods.method import Method
from training.recipe import Recipe

METHODS: dict[str, Callable[[CoarseData, Recipe, Accelerator], Method]] = {
    "clustnet": ClustNet,
    "deep_clustering": DeepClustering,
}
