"""The methods: each folder here is one and is found by its name, so that there is no list of them.

``NAME/config.py`` has ``RECIPE``, the class of its recipes, which needs no torch; ``NAME/method.py`` has ``METHOD``,
the class that trains, see ``training.methods.method``.
"""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from training.recipe.recipe import BaseRecipe

if TYPE_CHECKING:
    from accelerate import Accelerator

    from training.data.data import CoarseData
    from training.methods.method import Method


def names() -> tuple[str, ...]:
    """Return the names of all methods, sorted."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg))


def recipe_class(name: str) -> type[BaseRecipe]:
    """Return the class of a method's recipes."""
    found: type[BaseRecipe] = import_module(f"{__name__}.{name}.config").RECIPE
    return found


def method_class(name: str) -> "Callable[[CoarseData, Any, Accelerator], Method[Any]]":
    """Return the class that trains a method; it takes the data, the recipe and an accelerator."""
    found: Callable[[CoarseData, Any, Accelerator], Method[Any]] = import_module(f"{__name__}.{name}.method").METHOD
    return found
