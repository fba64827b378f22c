"""Which images there are, and the labels of each: from folders, a table, or a run of ``clustnet discover``."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clustnet.bundles.groups import ALL
from clustnet.corrections.session import Session
from clustnet.corrections.state import Review
from clustnet.datasets.folder_layout import TEST, is_hidden, label_name, listed
from clustnet.errors import UserError
from clustnet.files import shown
from training.discover.arguments import Columns
from training.discover.found import found_in
from training.discover.reading import FILES, IMAGES, files_of, load_files
from training.discover.sources import Entry, entries
from training.discover.subtypes import SUBTYPES, Row, read_subtypes
from training.grow.config import GrowData
from training.grow.hierarchy import Labels

CONTENT = "content"
# How a person marks an image that was wrongly taken for a copy.
NO_DUPLICATE = "no_duplicate"


class Item(NamedTuple):
    """An image.

    Args:
        name: its name for people and in ``splits.csv``.
        file: its file.
        labels: labels from the highest level down.
        test: whether it belongs to the test split of the data.
    """

    name: str
    file: Path
    labels: Labels
    test: bool


def items(data: GrowData, run: Path) -> list[Item]:
    """Return all images, in an order that is always the same.

    Args:
        data: where the images are.
        run: the run's folder; images that a table holds as bytes are written there.

    Raises:
        UserError: there is no such folder or table, a folder holds no image, or an image has no label.
    """
    if (data.path / SUBTYPES).is_file() and (data.path / FILES).is_file():
        return _reviewed(data.path)
    if data.path.is_dir():
        _check_filled(data.path)
    columns = Columns(**data.columns.model_dump())
    found = [_item(entry) for entry in files_of(entries(data.path, columns), run / CONTENT)]
    bare = [item.name for item in found if not all(item.labels) or not item.labels]
    if bare:
        raise UserError(f"Images without a label: {listed([shown(name) for name in bare])}; sort them into folders.")
    if not found:
        raise UserError(f"{shown(data.path)} holds no images; name a folder of nested class folders.")
    return found


def _item(entry: Entry) -> Item:
    """Return an image of a folder or table with all of its labels."""
    within = Path(entry.place).parts[:-1]
    label = () if entry.label in ("", ALL) else tuple(entry.label.split("/"))
    labels = tuple(label_name(part.strip()) for part in (*label, *within))
    return Item(entry.name, entry.path, labels, entry.split == TEST)


def _check_filled(folder: Path) -> None:
    """Raise if any folder below ``folder`` is empty."""
    empty = [shown(inner.relative_to(folder)) for inner in _folders(folder) if not any(_visible(inner))]
    if empty:
        raise UserError(f"Folders without an image in {shown(folder)}: {listed(empty)}; put some in, or remove them.")


def _folders(folder: Path) -> Iterator[Path]:
    for entry in _visible(folder):
        if entry.is_dir() and not entry.is_symlink():
            yield entry
            yield from _folders(entry)


def _visible(folder: Path) -> Iterator[Path]:
    yield from (entry for entry in sorted(folder.iterdir()) if not is_hidden(entry.name))


def _reviewed(run: Path) -> list[Item]:
    """Return the images of a run of ``clustnet discover`` with the reviewed names of their subtypes as finer labels.

    Images that the review leaves out are left out here, too, and so are near duplicates, which could end up in
    different splits. A coarse label with a single subtype is itself a class.
    """
    images, rows = {image.file: image for image in load_files(run)}, read_subtypes(run / SUBTYPES)
    review = Session(run, found_in(rows)).review
    kept = [place for place, row in enumerate(rows) if row.file in images and not _left_out(row, review)]
    subtypes = [review.subtypes[review.of[place]] for place in kept]
    labels = [_named(subtype.coarse, subtype.title) for subtype in subtypes]
    finer = Counter(own[0] for own in set(labels))
    found = []
    for place, own in zip(kept, labels, strict=True):
        image = images[rows[place].file]
        whole = own if finer[own[0]] > 1 else own[:1]
        found.append(Item(image.file, run / IMAGES / image.image, whole, image.split == TEST))
    return found


def _left_out(row: Row, review: Review) -> bool:
    twin = row.duplicate_of and NO_DUPLICATE not in review.marks.get(row.file, {}).values()
    return bool(twin or review.left_out(row.file))


def _named(coarse: str, name: str) -> Labels:
    """Return the labels of a subtype; a name with a ``/`` in it stands for several levels."""
    return (coarse, *name.removeprefix(f"{coarse}/").split("/"))
