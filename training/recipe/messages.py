"""Errors of recipes, each explained in one sentence."""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

from pydantic import ValidationError

from training.recipe.parts import Part

# What a value of the wrong type must be, by the start of pydantic's name for the error.
TYPES = {
    "int": "a whole number",
    "float": "a number",
    "string": "a text",
    "bool": "true or false",
    "tuple": "a list, as in [8, 16]",
    "list": "a list, as in [0, 1]",
    "dict": "a mapping, as in {ok: 3, defect: 5}",
    "model": "a group of keys",
    "path": "a text; put it in quotes",
}
# The choices in pydantic's list of them.
QUOTED = re.compile("'([^']*)'")


def explain(error: ValidationError, recipe: type[Part], method: str) -> str:
    """Return the first fault of a recipe as one sentence; an unknown key comes first, as others may follow from it.

    Args:
        error: pydantic's error.
        recipe: the recipe's class, which has the valid keys.
        method: name of the recipe's method.
    """
    faults = error.errors(include_url=False)
    fault = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])
    key, given = ".".join(str(part) for part in fault["loc"]), shown_value(fault["input"])
    if fault["type"] == "extra_forbidden":
        return f"{method} has no key {key!r}{_nearest_key(key, recipe)}"
    if fault["type"] == "invalid_key":
        return f"the key {key} is no text; a recipe has {', '.join(recipe.model_fields)}."
    if fault["type"] == "missing":
        return f"{key} is missing{_example(key, recipe)}."
    if fault["type"] == "value_error":
        return f"{key}: {fault['msg'].removeprefix('Value error, ')}"
    if fault["type"] == "literal_error":
        expected = fault["ctx"]["expected"].replace("True", "true").replace("False", "false")
        return f"{key} is {given}, but must be {expected}{nearest(str(fault['input']), QUOTED.findall(expected))}"
    kind = TYPES.get(fault["type"].partition("_")[0])
    return f"{key} is {given}, but {f'must be {kind}' if kind else fault['msg'].removeprefix('Input ').lower()}."


def nearest(given: str, choices: Sequence[str]) -> str:
    """Return the end of a sentence: the choice that may have been meant, if there is one."""
    close = difflib.get_close_matches(given, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


def _nearest_key(key: str, recipe: type[Part]) -> str:
    """Suggest a key of the same name elsewhere, one that is spelt alike, or all keys beside it."""
    valid = list(keys_of(recipe))
    parent, _, name = key.rpartition(".")
    elsewhere = [other for other in valid if other.rpartition(".")[2] == name]
    beside = [other.rpartition(".")[2] for other in valid if other.rpartition(".")[0] == parent]
    beside_alike = [key.removesuffix(name) + other for other in difflib.get_close_matches(name, beside, n=1)]
    names_alike = difflib.get_close_matches(name, [other.rpartition(".")[2] for other in valid], n=1, cutoff=0.8)
    elsewhere_alike = [other for other in valid if other.rpartition(".")[2] in names_alike]
    for close in (*elsewhere, *beside_alike, *elsewhere_alike):
        return f"; did you mean {close!r}?"
    return f"; {parent or 'a recipe'} has {', '.join(beside or [k for k in valid if '.' not in k])}."


def keys_of(recipe: type[Part], prefix: str = "") -> Iterator[str]:
    """Yield all keys of a recipe or of one of its parts, each group of keys before the keys inside it."""
    for name, field in recipe.model_fields.items():
        yield prefix + name
        if _is_part(field.annotation):
            yield from keys_of(field.annotation, f"{prefix}{name}.")


def _example(key: str, recipe: type[Part]) -> str:
    """Return what to give for a missing key, where its field has an example."""
    try:
        examples = field_of(key, recipe).examples
    except KeyError:
        # The key is an entry of a list.
        return ""
    return f"; give one, such as {examples[0]}" if examples else ""


def shown_value(value: Any) -> str:
    """Return a value as it is written in a recipe."""
    return {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))


def field_of(key: str, recipe: type[Part]) -> Any:
    """Return pydantic's description of a key's field.

    Raises:
        KeyError: there is no such key.
    """
    *parents, last = key.split(".")
    part = recipe
    for parent in parents:
        annotation = part.model_fields[parent].annotation
        part = annotation if _is_part(annotation) else part
    return part.model_fields[last]


def _is_part(annotation: object) -> TypeGuard[type[Part]]:
    return isinstance(annotation, type) and issubclass(annotation, Part)
