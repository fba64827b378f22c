"""Arrays in, subtypes out: the project as scikit-learn estimators, without a command line or a recipe.

Import them with ``from clustnet import ClustNet, DeepClustering``.
"""

from estimators.clustnet import ClustNet
from estimators.deep_clustering import DeepClustering

__all__ = ["ClustNet", "DeepClustering"]
