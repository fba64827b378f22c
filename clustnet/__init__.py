"""What the rooms share, free of torch: bundles, class maps, scores, image preparation, inference.

The estimators ``ClustNet`` and ``DeepClustering`` are found here, too, and loaded when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from clustnet.foreign import foreign

if TYPE_CHECKING:
    from estimators import ClustNet as ClustNet
    from estimators import DeepClustering as DeepClustering

__version__ = "0.1.0"
__all__ = ["ClustNet", "DeepClustering", "__version__"]

ESTIMATORS = ("ClustNet", "DeepClustering")


def __getattr__(name: str) -> Any:
    """Return an estimator; it needs torch, which nothing else here does."""
    if name not in ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module("estimators"), name)
    except ModuleNotFoundError as error:
        missing = f"{name} needs {error.name}; install it with: pip install '.[export]' in the repository"
        raise ImportError(foreign(error) or missing) from None
