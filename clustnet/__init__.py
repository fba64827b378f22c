"""What the other packages share, without torch: bundles, class maps, scores, image preparation, inference.

The estimators ``ClustNet`` and ``DeepClustering`` can be imported from here as well; they load on first use.
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
    """Return an estimator. Nothing else here needs torch."""
    if name not in ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module("estimators"), name)
    except ModuleNotFoundError as error:
        missing = f"{name} needs {error.name}; install it with: pip install '.[export]' in the repository"
        raise ImportError(foreign(error) or missing) from None
