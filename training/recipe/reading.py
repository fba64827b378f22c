"""Recipes as files and command lines: YAML, checked key by key. Nothing here needs torch."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clustnet.datasets import CLASSES, classes_of
from clustnet.errors import UserError
from clustnet.files import shown
from training import methods
from training.recipe.messages import explain, field_of, nearest
from training.recipe.parts import Part, choices, is_list, plain
from training.recipe.recipe import FOLDER, GIVEN, BaseRecipe, Data
from training.recipe.yaml_text import read_mapping, read_yaml

DEFAULT_METHOD = "clustnet"
# Not a method with a gate and experts: another command reads its recipes.
GROW = "grow"
# The keys that name files or folders.
PATHS = (("data", "path"), ("model", "architecture"))


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> BaseRecipe:
    """Return the recipe in a file, with ``overrides`` such as ``{"optimisation.epochs": 3}`` applied.

    Files and folders that the recipe names are looked for beside it, then in the working directory; those in overrides
    only in the working directory, as in a shell.

    Raises:
        UserError: the file is missing or not a YAML mapping, or a key, type or value is wrong.
    """
    content = read_mapping(path, "those in configs/", "configs/")
    if not _is_run(path.parent):
        _look_beside(content, path.parent)
    for key, value in (overrides or {}).items():
        _lay_over(content, key, value)
    return validated(content, str(path))


def check_data(recipe: BaseRecipe, folder: Path | None) -> None:
    """Check that the recipe's data are there, before anything is loaded.

    Args:
        recipe: the recipe as it was read.
        folder: the recipe's folder, in which relative paths were looked for; None if they were given elsewhere.

    Raises:
        UserError: the data are missing; the message says where they were looked for.
    """
    data = recipe.data.path
    if data is None or _exists(data):
        return
    where = "" if data.is_absolute() else _looked(folder)
    raise UserError(f"data.path is {shown(data)}, but there is no such file or folder{where}; correct it.")


def _exists(path: Path | str) -> bool:
    """Return whether a file or folder exists; False for a name that is too long or not valid."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _looked(folder: Path | None) -> str:
    """Return where relative paths were looked for, as the end of a clause."""
    beside = "" if folder is None else f"beside the recipe in {shown(folder.absolute())} or "
    return f" {beside}in the working directory {shown(Path.cwd())}"


def _is_run(folder: Path) -> bool:
    """Return whether a folder is a run, whose recipe has the paths that were found when the run began."""
    return any((folder / name).exists() for name in ("checkpoints", "tensorboard", "restarts.csv", "restart_0"))


def _look_beside(content: Mapping[str, Any], folder: Path) -> None:
    """Replace each relative path in a recipe by that of the file beside the recipe, if there is one.

    Raises:
        UserError: an architecture's file is neither there nor in the working directory.
    """
    for part, key in PATHS:
        named = content[part].get(key) if isinstance(content.get(part), dict) else None
        if not isinstance(named, str) or not named:
            continue
        file, entry = _file_and_entry(named) if key == "architecture" else (named, "")
        if Path(file).is_absolute():
            continue
        if _exists(folder / file):
            content[part][key] = f"{folder / file}{entry}"
        elif key == "architecture" and not _exists(file):
            raise UserError(f"{part}.{key} is {named!r}, but there is no {file}{_looked(folder)}; correct it.")


def _file_and_entry(named: str) -> tuple[str, str]:
    """Return the two parts of ``FILE:ENTRY``, the second with its colon; empty where there is none."""
    file, colon, entry = named.rpartition(":")
    return (file, colon + entry) if colon else (entry, "")


def validated(content: Mapping[str, Any], source: str) -> BaseRecipe:
    """Return the recipe that a mapping describes, its keys, types and values checked.

    Args:
        content: keys to values; ``method`` decides which keys there are.
        source: where it is from, for the error.

    Raises:
        UserError: names the first wrong key and the nearest valid one, or what the value must be.
    """
    try:
        content = plain(content)
    except RecursionError:
        raise UserError(f"{source}: a value holds itself; write it out.") from None
    method = content.get("method", DEFAULT_METHOD)
    names = methods.names()
    if method == GROW:
        raise UserError(f"{source}: method is {GROW!r}; learn it with 'clustnet grow {source}'.")
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
    if data.name in CLASSES:
        data.grouping(CLASSES[data.name])
    elif data.name != FOLDER and data.coarse == GIVEN:
        data.grouping(())
    elif (
        isinstance(data.coarse, dict)
        and data.path
        and _exists(data.path)
        and (data.name != FOLDER or data.path.is_dir())
    ):
        data.grouping(classes_of(data.name, data.path))


def _check_unused(recipe: BaseRecipe) -> None:
    """Refuse keys that are set but have no effect with the recipe's other choices."""
    for key, choice in recipe.unused():
        if key in set_keys(recipe):
            raise UserError(f"{key} is set, but has no effect with {choice}; leave it out.")


def set_keys(part: Part, prefix: str = "") -> Iterator[str]:
    """Yield the keys, inside parts as well, whose values are not the defaults."""
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, Part):
            yield from set_keys(value, f"{prefix}{name}.")
        elif value != field.default:
            yield prefix + name


def parse_overrides(words: Sequence[str], options: Iterable[str] = ()) -> dict[str, Any]:
    """Return the keys and values of ``--key.sub value`` and ``--key.sub=value`` pairs; values are read as YAML.

    Args:
        words: the arguments that the command does not know.
        options: names of the command's options, any of which may be misspelt among the words.

    Raises:
        UserError: a word is not a ``--key``, an option is misspelt, or a key has no value or one that is not YAML.
    """
    overrides: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(f"Unexpected argument {word!r}; set a key of the recipe with --key.sub VALUE.")
        key, equals, value = word[2:].partition("=")
        _check_option(key, options)
        if not equals and not rest:
            raise UserError(f"{word} needs a value, as in {word} VALUE.")
        overrides[key] = parse_value(key, value if equals else rest.pop(0))
    return overrides


def parse_value(key: str, text: str) -> Any:
    """Return the value that a word of the command line gives a key; it is read as YAML without comments.

    Raises:
        UserError: the value is not YAML.
    """
    # Quotes and brackets close what they open; any other value goes on to the end of the word.
    begun = text.lstrip()[:1]
    if begun and begun not in "'\"[{":
        if text.strip() not in ("null", "~") and any(field is Path for field in _annotations(key)):
            return text
        if " #" in text or begun == "#":
            return text
    return read_yaml(text, f"The value of --{key}")


def takes_list(key: str) -> bool:
    """Return whether the value of a key is a list."""
    return any(map(is_list, _annotations(key)))


def _annotations(key: str) -> Iterator[Any]:
    """Yield the types that a key has in the recipes of the methods."""
    for name in methods.names():
        with suppress(KeyError):
            yield from choices(field_of(key, methods.recipe_class(name)).annotation)


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
