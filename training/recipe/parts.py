"""What recipes are made of: the types of their fields, and the base of their parts. Nothing here needs torch."""

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Epochs = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
# A share below 1.
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class Part(BaseModel):
    """Base of a recipe and its parts: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, content: Any) -> Any:
        """Read ``28,28`` as a list where a list is expected, and true and false as texts where a number is expected."""
        if not isinstance(content, Mapping):
            return content
        types = {name: field.annotation for name, field in cls.model_fields.items()}
        return {key: _as_expected(value, types[key]) if key in types else value for key, value in content.items()}


def is_list(annotation: Any) -> bool:
    """Return whether a field holds a list, or a list or None."""
    (first, *others) = choices(annotation)
    return not others and get_origin(first) in (tuple, list)


def _as_expected(value: Any, annotation: Any) -> Any:
    """Return a value as a field of a type expects it, see ``Part._as_written``."""
    if isinstance(value, str) and is_list(annotation):
        return [item.strip() for item in value.split(",")]
    kinds = set(_kinds(annotation))
    if not kinds or not kinds <= {int, float}:
        return value
    # Python's True equals 1, but must not pass for a number of epochs; a text is refused.
    if isinstance(value, list | tuple):
        return [str(item).lower() if isinstance(item, bool) else item for item in value]
    return str(value).lower() if isinstance(value, bool) else value


def plain(value: Any) -> Any:
    """Return a value with numpy's numbers and arrays as Python's, also inside mappings and lists.

    Raises:
        RecursionError: the value contains itself.
    """
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else list(map(plain, value))
    return value


def choices(annotation: Any) -> list[Any]:
    """Return the types that a field allows, without None."""
    if get_origin(annotation) is Annotated:
        return choices(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [choice for one in get_args(annotation) for choice in choices(one) if choice is not NoneType]
    return [annotation]


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types that a field's value, or each item of its list, may have."""
    for choice in choices(annotation):
        if get_origin(choice) in (tuple, list):
            yield from (kind for item in get_args(choice) if item is not Ellipsis for kind in _kinds(item))
        else:
            yield choice
