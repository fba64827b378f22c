"""The places of bundles: the folders that ``CLUSTNET_BUNDLES`` names, and the order of their versions."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from clustnet.bundles.bundle import MANIFEST, Bundle, Name, read_manifest
from clustnet.errors import UserError

PARTS = re.compile(r"\d+|[A-Za-z]+")
# Sorts above a word, so that 1.0-rc1 is older than 1.0, and below a number, so that 1.0 is older than 1.0.1.
END = (1, -1)
WORD, NUMBER = 0, 1
NAMES = TypeAdapter(Name)
HOW = "name bundle folders, or folders of NAME/VERSION bundles, in CLUSTNET_BUNDLES"


@dataclass(frozen=True)
class Place:
    """A bundle folder, and the name and version that its path gives it, None where it gives none."""

    folder: Path
    name: str | None = None
    version: str | None = None

    def open(self) -> Bundle:
        """Return the checked bundle.

        Raises:
            UserError: the bundle cannot be used, or its manifest names another model or version than the path.
        """
        bundle = Bundle(self.folder)
        found = bundle.manifest
        for what, wanted, is_ in (("model", self.name, found.name), ("version", self.version, found.version)):
            if wanted not in (None, is_):
                message = f"The manifest of {self.folder} names the {what} '{is_}', but its path '{wanted}'"
                raise UserError(f"{message}; rename the folder, or export the run again.")
        return bundle


class Repository:
    """The bundles of several folders, each a bundle itself or a folder of ``NAME/`` or ``NAME/VERSION/`` bundles.

    In a folder of bundles, names that no model can have, such as ``.hidden`` or ``lost+found``, are skipped.

    Args:
        folders: bundles, and folders of them.

    Raises:
        UserError: a folder is neither.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [folder.absolute() for folder in folders]
        # The last known name of each folder that is a bundle itself; a bundle that breaks still belongs to its model.
        self._named = {folder: read_name(folder) for folder in self._folders if _is_bundle(folder)}
        for folder in self._folders:
            if folder not in self._named:
                _check_repository(folder)

    def names(self) -> list[str]:
        """Return the names of all models, in the order of the folders and alphabetically within each."""
        names = (self._names_in(folder) for folder in self._folders)
        return list(dict.fromkeys(name for some in names for name in some))

    def places(self, name: str) -> list[Place]:
        """Return where the versions of a model are now, empty if there are none.

        Raises:
            UserError: a bundle of the model that ``CLUSTNET_BUNDLES`` names directly is broken.
        """
        # Such as "..".
        if not _is_name(name):
            return []
        return [place for folder in self._folders for place in self._places_in(folder, name)]

    def _names_in(self, folder: Path) -> list[str]:
        named = self._named.get(folder)
        return [path.name for path in _named_folders(folder)] if named is None else [named]

    def _places_in(self, folder: Path, name: str) -> Iterator[Place]:
        if folder not in self._named:
            yield from _versions(folder / name)
        elif self._name_now(folder, name) == name:
            yield Place(folder)

    def _name_now(self, folder: Path, wanted: str) -> str:
        """Return the name of a folder that is a bundle itself; a broken one is an error only if its model is wanted."""
        try:
            self._named[folder] = read_name(folder)
        except UserError:
            if self._named[folder] == wanted:
                raise
        return self._named[folder]


def read_name(folder: Path) -> str:
    """Return the name in a bundle's manifest."""
    return read_manifest(folder / MANIFEST).name


def newness(version: str) -> tuple[list[tuple[int, int | str]], str]:
    """Return the key that sorts versions from old to new.

    Runs of digits compare as numbers and runs of letters as words, whatever is between them: 9 < 10, 1.0 < 1.0.1. A
    word is older than nothing and than a number: 1.0-rc1 < 1.0.
    """
    parts: list[tuple[int, int | str]] = [
        (NUMBER, int(part)) if part.isdecimal() else (WORD, part.lower()) for part in PARTS.findall(version)
    ]
    return [*parts, END], version


def _is_bundle(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _check_repository(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a bundle: there is no such folder; {HOW}.")
    models = _named_folders(folder)
    if not models:
        raise UserError(f"{folder} is not a bundle: it holds no {MANIFEST}, and no bundles either; {HOW}.")
    for model in models:
        if not _versions(model):
            message = f"{model} is not a model of the repository {folder}: it holds no {MANIFEST}"
            raise UserError(f"{message}, and no bundles either; {HOW}.")


def _versions(model: Path) -> list[Place]:
    """Return the places in a model's folder of a repository: the folder itself, or all in it if any is a bundle."""
    if _is_bundle(model):
        return [Place(model, model.name)]
    folders = _named_folders(model)
    return [Place(folder, model.name, folder.name) for folder in folders] if any(map(_is_bundle, folders)) else []


def _named_folders(folder: Path) -> list[Path]:
    """Return the folders in ``folder`` whose names a model or a version can have."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _is_name(path.name) and path.is_dir())


def _is_name(text: str) -> bool:
    try:
        NAMES.validate_python(text)
    except ValidationError:
        return False
    return True
