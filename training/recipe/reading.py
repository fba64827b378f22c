"""Recipes as files and command lines: YAML, checked key by key. Nothing here needs torch."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from clustnet.datasets import classes_of
from clustnet.errors import UserError
from training import methods
from training.recipe.messages import explain, nearest
from training.recipe.parts import Part
from training.recipe.recipe import FOLDER, BaseRecipe, Data

DEFAULT_METHOD = "clustnet"


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> BaseRecipe:
    """Return the recipe in a file with ``overrides``, ``{"optimisation.epochs": 3}``, laid over it.

    Raises:
        UserError: the file is missing or no YAML mapping, or a key, type or value is wrong.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), f"The recipe {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The recipe {path} cannot be read ({error}); name a YAML file such as those in configs/."
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"The recipe {path} must be a mapping of keys to values, as those in configs/ are.")
    for key, value in (overrides or {}).items():
        _lay_over(content, key, value)
    return validated(content, str(path))


def validated(content: Mapping[str, Any], source: str) -> BaseRecipe:
    """Return the recipe that a mapping describes, its keys, types and values checked.

    Args:
        content: keys to values; ``method`` decides which keys there are.
        source: where it is from, for the error.

    Raises:
        UserError: names the first wrong key and the nearest valid one, or what the value must be.
    """
    method = content.get("method", DEFAULT_METHOD)
    names = methods.names()
    if method not in names:
        choices = " or ".join(map(repr, names))
        raise UserError(f"{source}: method is {method!r}, but must be {choices}{nearest(str(method), names)}")
    kind = methods.recipe_class(method)
    try:
        recipe = kind.model_validate(content)
        _check_coarse(recipe.data)
        recipe.check(recipe.data.known_labels())
        _check_unused(recipe)
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error, kind, method)}") from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    return recipe


def _check_coarse(data: Data) -> None:
    """Refuse coarse labels that the data set does not have, as far as that is known without its images."""
    if data.name != FOLDER:
        data.grouping(classes_of(data.name))
    elif isinstance(data.coarse, dict) and data.path and data.path.is_dir():
        data.grouping(classes_of(FOLDER, data.path))


def _check_unused(recipe: BaseRecipe) -> None:
    """Refuse keys that are set, but have no use with the recipe's other choices."""
    for key, choice in recipe.unused():
        if key in set_keys(recipe):
            raise UserError(f"{key} is set, but has no use with {choice}; leave it out.")


def set_keys(part: Part, prefix: str = "") -> Iterator[str]:
    """Yield the keys, inside parts as well, whose values are not the defaults."""
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, Part):
            yield from set_keys(value, f"{prefix}{name}.")
        elif value != field.default:
            yield prefix + name


def parse_yaml(text: str, source: str) -> Any:
    """Return what YAML holds.

    Raises:
        UserError: no YAML, or a value such as 2020-13-45 that only looks like a date or number.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source} is not YAML: {' '.join(str(error).split())}.") from None


def parse_overrides(words: Sequence[str], options: Iterable[str] = ()) -> dict[str, Any]:
    """Return the keys and values of ``--key.sub value`` and ``--key.sub=value`` pairs; values are read as YAML.

    Args:
        words: what the command did not know.
        options: the names of its options, one of which may have been meant.

    Raises:
        UserError: a word that is no ``--key``, a misspelt option, or a key without a value or with one that is no YAML.
    """
    overrides: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(f"Unexpected argument {word!r}; a recipe's key is set by --key.sub VALUE.")
        key, equals, value = word[2:].partition("=")
        _check_option(key, options)
        if not equals and not rest:
            raise UserError(f"{word} needs a value, as in {word} VALUE.")
        overrides[key] = parse_yaml(value if equals else rest.pop(0), f"The value of --{key}")
    return overrides


def _check_option(key: str, options: Iterable[str]) -> None:
    """Refuse a misspelt option, which would otherwise be read as a key of the recipe."""
    close = difflib.get_close_matches(key, list(options), n=1, cutoff=0.8)
    first = key.partition(".")[0]
    if close and not any(first in methods.recipe_class(name).model_fields for name in methods.names()):
        raise UserError(f"There is no option --{key}; did you mean --{close[0]}?")


def _lay_over(content: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = content.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UserError(f"--{key} cannot be set, because {parent} is a single value, not a group of keys.")
        content = inner
    content[last] = value
