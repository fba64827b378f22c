"""The layout of folders of images: the splits, the meaning of their sub-folders, and their files.

A folder has one sub-folder per coarse label, or such folders in ``train/`` and ``test/``::

    LABEL/**                   training images, at any depth
    train/LABEL/**             the same; read instead if there is a train/
    test/LABEL/**              images to score
    reference/LABEL/CLASS/**   a few images of each class, which name the subtypes

If the images lie in no sub-folders, they have the single coarse label ``all``, and the classes are
``reference/CLASS/``.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clustnet.bundles.bundle import MAX_NAME_CHARACTERS, Manifest
from clustnet.bundles.groups import ALL, UNKNOWN, CoarseGrouping
from clustnet.errors import UserError
from clustnet.files import shown

TRAIN, TEST, REFERENCE = "train", "test", "reference"
SPLITS = (TRAIN, TEST, REFERENCE)
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp"}
# How image files begin, which identifies files without a suffix. "RIFF" is followed by a length and "WEBP".
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"BM")
# The number of faults that a message lists.
MAX_NAMED_FAULTS = 10
# What file managers, archivers and file systems leave beside images, in lower case.
SYSTEM_NAMES = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}


@dataclass(frozen=True)
class FolderNames:
    """What the sub-folders of a folder of images stand for.

    Args:
        grouping: the K coarse labels and the classes of each; the single label ``all`` if sub-folders are not coarse
            labels.
        classes: the names of the fine classes, ``LABEL/CLASS`` below a coarse label; empty if none is known.
    """

    grouping: CoarseGrouping
    classes: tuple[str, ...] = ()

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> "FolderNames":
        """Return the names of folders into which images are sorted for a bundle.

        Subtypes count as classes only if a person has named at least one of them, because folders are not called
        ``LABEL/1``.
        """
        if not any(subtype.named for subtype in manifest.subtypes):
            return cls(CoarseGrouping(manifest.coarse_labels, ((),) * len(manifest.coarse_labels)))
        return cls(manifest.grouping(), manifest.class_names)

    @property
    def coarse_labels(self) -> tuple[str, ...]:
        """The names of the K coarse labels."""
        return self.grouping.labels

    @property
    def divided(self) -> bool:
        """Whether sub-folders are coarse labels."""
        return self.coarse_labels != (ALL,)

    def labels_of(self, folders: tuple[str, ...]) -> tuple[int, int]:
        """Return the coarse label and the fine class of an image, each ``UNKNOWN`` if its folders do not name it.

        Args:
            folders: the names of the folders between the split and the image file, the outermost first.
        """
        folders = tuple(map(label_name, folders))
        if self.divided and folders and folders[0] in self.coarse_labels:
            coarse = self.coarse_labels.index(folders[0])
            names = ("/".join(folders), "/".join(folders[:2]), *folders[1:2])
            # Only its own classes: one of another coarse label would contradict the enclosing folder.
            own = self.grouping.groups[coarse]
            return coarse, next((index for index in own if self.classes[index] in names), UNKNOWN)
        fine = next((self.classes.index(name) for name in folders if name in self.classes), UNKNOWN)
        return int(self.grouping.coarse(np.array([fine]))[0]), fine

    def folders(self) -> tuple[str, ...]:
        """Return the names that a sub-folder of ``test/`` may have."""
        return (*(self.coarse_labels if self.divided else ()), *self.classes)


def label_name(folder: str) -> str:
    """Return the label that a folder's name stands for.

    Names that differ only in their Unicode form, as between macOS and Linux, are one label. Bytes that are not UTF-8
    are escaped, because tables and manifests are written in UTF-8.
    """
    return unicodedata.normalize("NFC", shown(folder))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden or was left by the system beside images."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def folder_names(path: Path | None, given: bool = True) -> FolderNames:
    """Return the coarse labels and the classes of a folder.

    Args:
        path: the folder.
        given: whether the sub-folders of the training images are coarse labels. Otherwise the folders of
            ``reference/`` are the classes, or if there is none, the sub-folders of the training images.

    Raises:
        UserError: there is no path, there are images beside the sub-folders, a sub-folder is empty, or ``reference/``
            has another form.
    """
    path = existing(path)
    labels = _coarse_labels(path) if given else ()
    if labels:
        return _divided_names(path, labels)
    classes: tuple[str, ...] = ()
    if has_split(path, REFERENCE):
        classes = _classes(path / REFERENCE)
    elif not given and has_split(path, TRAIN):
        # Images beside the classes are allowed here: their class is unknown.
        classes = _label_names([entry for entry in _split_entries(path, TRAIN) if is_folder(entry)])
    return FolderNames(CoarseGrouping.whole(len(classes)), classes)


def has_split(path: Path | None, split: str) -> bool:
    """Return whether a folder has a split.

    Without ``train/``, the training images are the folders and images beside the other splits.

    Raises:
        UserError: there is no path, or no such folder.
    """
    path = existing(path)
    if is_folder(path / split):
        return True
    if split != TRAIN:
        return False
    if not any(is_folder(path / name) for name in SPLITS):
        return True
    # A note or a table beside test/ is not a training image.
    return any(is_folder(entry) or _is_image(entry) for entry in _beside_splits(path))


def split_folder(path: Path, split: str) -> Path:
    """Return the folder of a split: the sub-folder of that name, or for ``train`` otherwise ``path`` itself.

    Raises:
        UserError: the split is missing.
    """
    if not has_split(path, split):
        raise UserError(
            f"{shown(path)} has no folder {split}/; a folder of images has one sub-folder for each coarse label, "
            f"or {TRAIN}/, {TEST}/ and {REFERENCE}/ with such sub-folders."
        )
    inner = path / split
    return inner if is_folder(inner) else path


def split_files(path: Path, split: str) -> list[Path]:
    """Return the files of a split, sorted.

    Raises:
        UserError: the split is missing, or a folder cannot be read.
    """
    above = frozenset({split_folder(path, split).resolve()})
    return [file for entry in _split_entries(path, split) for file in _files_of(entry, above)]


def check_folders(path: Path, split: str, names: FolderNames) -> None:
    """Raise if a sub-folder of a split is neither a coarse label nor a class."""
    known = names.folders()
    for folder in _split_folders(path, split):
        if label_name(folder.name) not in known:
            what = f"among {', '.join(known)}" if known else f"a class, as {REFERENCE}/ names none"
            raise UserError(
                f"{shown(folder.parent)} holds the folder '{shown(folder.name)}', which is not {what}; rename or "
                f"remove it, or put its images into {shown(folder.parent)} itself."
            )


def existing(path: Path | None) -> Path:
    """Return a path after checking that it is a folder.

    Raises:
        UserError: there is no path, or no such folder.
    """
    if path is None:
        raise UserError("A folder of images has no default place; name it with --data folder:PATH.")
    if not is_folder(path):
        raise UserError(
            f"There is no folder {shown(path)}; name one with a sub-folder of images for each coarse label."
        )
    return path


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder.

    Raises:
        UserError: the path cannot be read.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be read ({error.strerror}); fix or remove it.") from None


def listed(faults: Sequence[str]) -> str:
    """Return the first of several faults in one line, and the number of further ones."""
    more = len(faults) - MAX_NAMED_FAULTS
    return ", ".join(faults[:MAX_NAMED_FAULTS]) + (f" and {more} more" if more > 0 else "")


def _coarse_labels(path: Path) -> tuple[str, ...]:
    """Return the names of the sub-folders of the training images, or without training images of those to score."""
    if has_split(path, TRAIN):
        folders = _split_folders(path, TRAIN)
        if not folders:
            _check_no_other_folders(path)
        return _label_names(folders)
    if has_split(path, TEST) and not has_split(path, REFERENCE):
        return _label_names(_split_folders(path, TEST))
    return ()


def _check_no_other_folders(path: Path) -> None:
    """Raise if there are folders beside a ``train/`` without sub-folders, which may then be a coarse label itself."""
    others = [entry for entry in _beside_splits(path) if is_folder(entry)]
    if others:
        raise UserError(
            f"{shown(path)} holds {shown(others[0].name)}/ beside {TRAIN}/, which has no sub-folders; sort the images "
            f"of {TRAIN}/ into {TRAIN}/LABEL/, move {shown(others[0].name)}/ elsewhere, or rename {TRAIN}/ where it is "
            "a coarse label."
        )


def _divided_names(path: Path, labels: tuple[str, ...]) -> FolderNames:
    """Return the names for a folder with coarse labels, whose classes are ``reference/LABEL/CLASS/``."""
    if not has_split(path, REFERENCE):
        return FolderNames(CoarseGrouping(labels, ((),) * len(labels)))
    folders = _split_folders(path, REFERENCE)
    found = {
        label: _classes(*(folder for folder in folders if label_name(folder.name) == label))
        for label in _label_names(folders)
    }
    for name in found:
        if name not in labels:
            raise UserError(
                f"{shown(path / REFERENCE)} holds {name!r}, which is not a coarse label ({', '.join(labels)}); "
                f"sort the reference images into {REFERENCE}/LABEL/CLASS/."
            )
    classes: list[str] = []
    groups = []
    for label in labels:
        if label not in found:
            raise UserError(
                f"{shown(path / REFERENCE)} names no class of the coarse label {label!r}; add "
                f"{REFERENCE}/{label}/CLASS/, or remove {REFERENCE}/ to have the subtypes numbered."
            )
        groups.append(tuple(range(len(classes), len(classes) + len(found[label]))))
        classes += [_checked_name(f"{label}/{name}") for name in found[label]]
    return FolderNames(CoarseGrouping(labels, tuple(groups)), tuple(classes))


def _classes(*folders: Path) -> tuple[str, ...]:
    """Return the names of the class folders in ``reference/``, or in its folders of one coarse label."""
    found = [inner for folder in folders for inner in _checked_folders(folder, list(_visible(folder)))]
    if not found:
        raise UserError(
            f"{shown(folders[0])} holds no class; give it a folder of images for each class, named after it."
        )
    return _label_names(found)


def _label_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the distinct labels of folders, sorted.

    Raises:
        UserError: the escaped name of a folder is also the name of another.
    """
    names: dict[str, str] = {}
    for folder in folders:
        label = label_name(folder.name)
        name = unicodedata.normalize("NFC", folder.name)
        if names.setdefault(label, name) != name:
            raise UserError(
                f"{shown(folder.parent)} holds two folders that are shown as '{label}', as the name of one is not "
                "UTF-8; rename it."
            )
    return tuple(sorted(names))


def _checked_name(name: str) -> str:
    if len(name) > MAX_NAME_CHARACTERS:
        raise UserError(f"The name {name!r} is longer than {MAX_NAME_CHARACTERS} characters; rename its folder.")
    return name


def _split_folders(path: Path, split: str) -> list[Path]:
    """Return the sub-folders of a split, sorted; none if it contains only images."""
    return _checked_folders(split_folder(path, split), _split_entries(path, split))


def _checked_folders(folder: Path, entries: list[Path]) -> list[Path]:
    """Return the folders among the entries of a folder.

    Raises:
        UserError: there are files beside folders, a folder is empty, or a name is too long.
    """
    folders = [entry for entry in entries if is_folder(entry)]
    loose = [entry for entry in entries if not is_folder(entry)]
    if folders and loose:
        them, these = ("it", "them") if len(loose) == 1 else ("them", "these")
        names = listed([shown(entry.name) for entry in loose])
        raise UserError(
            f"{shown(folder)} holds {names} beside its folders; move {them} into one of {these}, or remove {them}."
        )
    for inner in folders:
        _checked_name(label_name(inner.name))
    empty = [shown(inner) for inner in folders if next(_files_of(inner), None) is None]
    if empty:
        is_empty, it = ("is empty", "it") if len(empty) == 1 else ("are empty", "them")
        raise UserError(f"{listed(empty)} {is_empty}; put images into {it}, or remove {it}.")
    return folders


def _split_entries(path: Path, split: str) -> list[Path]:
    """Return the files and folders of a split, sorted."""
    folder = split_folder(path, split)
    return list(_beside_splits(path) if folder == path else _visible(folder))


def _beside_splits(path: Path) -> Iterator[Path]:
    """Yield the entries of a folder that are not the folder of a split."""
    yield from (entry for entry in _visible(path) if entry.name not in SPLITS)


def _files_of(entry: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield a file itself, or the files below a folder, sorted; links back to a folder above are not followed."""
    if not is_folder(entry):
        yield entry
        return
    resolved = entry.resolve()
    if resolved not in above:
        for inner in _visible(entry):
            yield from _files_of(inner, above | {resolved})


def _is_image(file: Path) -> bool:
    """Return whether a file is an image, by its suffix or else its first bytes; a broken link without suffix is not."""
    if file.suffix:
        return file.suffix.lower() in SUFFIXES
    try:
        # Reading a pipe might never end.
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            return stream.read(len(SIGNATURES[0])).startswith(SIGNATURES)
    except OSError:
        return False


def _visible(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder, sorted, without hidden and system files."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"The folder {shown(folder)} cannot be read ({error.strerror}); fix or remove it.") from None
    for entry in entries:
        if not is_hidden(entry.name):
            yield entry
