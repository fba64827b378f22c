"""The step ``read``: every image is looked at once; what cannot be used is listed and left out.

::

    RUN/images/SPLIT/LABEL/...   links to the images that are used
    RUN/files.csv                these images, in the order of all arrays of the run
    RUN/thumbnails.npy           uint8 [N, 16, 16], grey
    RUN/problems.csv             the images that are left out, and why
"""

import csv
import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import MAX_NAME_CHARACTERS
from clustnet.bundles.groups import ALL
from clustnet.datasets.folder_layout import TEST, TRAIN, is_hidden
from clustnet.errors import UserError
from clustnet.files import replacing, replacing_folder
from training.discover.engines import Engine, on_threads
from training.discover.glance import THUMBNAIL_SIDE, Glance, glance, stamp
from training.discover.progress import show
from training.discover.sources import Entry

FILES, PROBLEMS, THUMBNAILS, IMAGES, JOURNAL = "files.csv", "problems.csv", "thumbnails.npy", "images", ".read.jsonl"
# The folder for images that a table holds as bytes.
CONTENT = "content"
# Entries that are looked at in one batch.
BATCH = 64
LABELS_LISTED = 10

T = TypeVar("T")


class Image(NamedTuple):
    """An image that is used.

    Args:
        file: its name in IMAGES.
        image: its path in ``RUN/images``.
        split: ``train`` or ``test``.
        coarse: its coarse label.
        sha256: SHA-256 of its content.
        width: width in pixels.
        height: height in pixels.
        colour: 1 if it has colour.
    """

    file: str
    image: str
    split: str
    coarse: str
    sha256: str
    width: int
    height: int
    colour: int


class Problem(NamedTuple):
    """An image that is left out.

    Args:
        file: its name in IMAGES.
        split: ``train`` or ``test``.
        coarse: its coarse label, where it has one.
        problem: why it is left out.
        kind: ``unreadable``, ``equal``, ``contradiction`` or ``label``.
    """

    file: str
    split: str
    coarse: str
    problem: str
    kind: str


def read(found: Iterable[Entry], run: Path, engine: Engine = on_threads) -> list[Problem]:
    """Look at all images and write those that the run works with; return the problems.

    Images that were looked at before the step was interrupted are not looked at again.

    Args:
        found: the entries of IMAGES.
        run: the run's folder.
        engine: reads the images.

    Raises:
        UserError: no image is left, or the name of a coarse label cannot be used.
    """
    listed = _glances(files_of(found, run / CONTENT), run / JOURNAL, engine)
    used, problems = sorted_out(listed)
    divided = {entry.label for entry, _ in used} != {ALL}
    with replacing_folder(run / IMAGES) as folder:
        for entry, _ in used:
            link(entry.path, folder / _place(entry, divided))
    thumbnails = np.frombuffer(b"".join(seen.thumbnail for _, seen in used), np.uint8)
    save_thumbnails(run, thumbnails.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    write_lists(run, [_image(*pair, divided) for pair in used], problems)
    (run / JOURNAL).unlink(missing_ok=True)
    return problems


def write_lists(run: Path, images: Iterable[Image], problems: Iterable[Problem]) -> None:
    """Write the list of problems and then that of the images a run works with, whose file marks the step as done."""
    write_rows(run / PROBLEMS, Problem._fields, problems)
    write_rows(run / FILES, Image._fields, images)


def load_files(run: Path) -> list[Image]:
    """Return the images that a run works with."""
    with (run / FILES).open(newline="", encoding="utf-8") as file:
        return [
            Image(row[0], row[1], row[2], row[3], row[4], *map(int, row[5:8]))
            for row in islice(csv.reader(file), 1, None)
        ]


def load_problems(run: Path) -> list[Problem]:
    """Return the images that were left out."""
    with (run / PROBLEMS).open(newline="", encoding="utf-8") as file:
        return [Problem(*row) for row in islice(csv.reader(file), 1, None)]


def files_of(found: Iterable[Entry], folder: Path) -> Iterator[Entry]:
    """Yield the entries; the bytes of a table are written to files first, so that they are not held in memory."""
    for entry in found:
        if entry.content is None:
            yield entry
            continue
        path = folder / entry.place
        if not path.is_file() or path.stat().st_size != len(entry.content):
            with replacing(path) as temporary:
                temporary.write_bytes(entry.content)
        yield entry._replace(path=path, content=None)


def _glances(found: Iterable[Entry], journal: Path, engine: Engine) -> list[tuple[Entry, Glance]]:
    """Return each entry with what was seen of it, which is taken from the journal if it is there."""
    known = _read_journal(journal)
    listed = [(entry, (entry.name, *stamp(entry.path))) for entry in found]
    fresh = list(batches((pair for pair in listed if pair[1] not in known), BATCH))
    files = [[entry.path.absolute() for entry, _ in batch] for batch in fresh]
    with journal.open("a", encoding="utf-8") as log:
        for number, seen in show(engine(_looker, files), [len(batch) for batch in fresh], "read"):
            for (_, key), one in zip(fresh[number], seen, strict=True):
                known[key] = one
                log.write(json.dumps([*key, *one[:-1], one.thumbnail.hex()]) + "\n")
            log.flush()
    return [(entry, known[key]) for entry, key in listed]


def _looker() -> Callable[[Sequence[Path]], list[Glance]]:
    """Return a function that looks at some files."""
    return lambda files: [glance(file) for file in files]


def _read_journal(journal: Path) -> dict[tuple[Any, ...], Glance]:
    """Return what was seen before, by name, modification time and size of the file; lines cut short are skipped."""
    known: dict[tuple[Any, ...], Glance] = {}
    with suppress(FileNotFoundError), journal.open(encoding="utf-8") as file:
        for line in file:
            with suppress(ValueError):
                name, changed, size, problem, digest, width, height, colour, thumbnail = json.loads(line)
                known[name, changed, size] = Glance(problem, digest, width, height, colour, bytes.fromhex(thumbnail))
    return known


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of ``size`` items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def sorted_out(listed: list[tuple[Entry, Glance]]) -> tuple[list[tuple[Entry, Glance]], list[Problem]]:
    """Return the images that are used, and why the others are not: unreadable, no usable label, or equal to another.

    Raises:
        UserError: no image is left, or the name of a coarse label cannot be used.
    """
    problems, by_content = [], defaultdict(list)
    for entry, seen in listed:
        if seen.problem:
            problems.append(Problem(entry.name, entry.split, entry.label, seen.problem, "unreadable"))
        elif not entry.label:
            problems.append(Problem(entry.name, entry.split, "", "has no coarse label", "label"))
        else:
            by_content[seen.sha256].append((entry, seen))
    used = []
    for copies in by_content.values():
        kept, faults = _of_copies(copies)
        used += kept
        problems += faults
    known = {entry.label for entry, _ in used if entry.split == TRAIN}
    for entry, _ in used:
        if entry.label not in known:
            problem = "has a coarse label that no training image has"
            problems.append(Problem(entry.name, entry.split, entry.label, problem, "label"))
    used = [pair for pair in used if pair[0].label in known]
    _check_labels(used, problems)
    return used, problems


def _of_copies(copies: list[tuple[Entry, Glance]]) -> tuple[list[tuple[Entry, Glance]], list[Problem]]:
    """Return which of several equal images is used (none if their labels differ), and the problems of the others."""
    first, *others = copies
    labels = {entry.label for entry, _ in copies}
    if len(labels) > 1:
        said = f"equals images of {' and '.join(sorted(labels))}: "
        names = [entry.name for entry, _ in copies]
        return [], [
            Problem(entry.name, entry.split, entry.label, said + _other(names, entry.name), "contradiction")
            for entry, _ in copies
        ]
    equal = f"is equal to {first[0].name}"
    return [first], [Problem(entry.name, entry.split, entry.label, equal, "equal") for entry, _ in others]


def _other(names: list[str], own: str) -> str:
    return next(name for name in [*names, own] if name != own or len(set(names)) == 1)


def _check_labels(used: list[tuple[Entry, Glance]], problems: list[Problem]) -> None:
    """Raise an error if nothing is left to train on, or if a coarse label cannot name a folder."""
    labels = {entry.label for entry, _ in used}
    if not used:
        why = f"; {problems[0].file} {problems[0].problem}" if problems else ""
        raise UserError(
            f"There is no image to train on{why}; name a folder with one sub-folder of images for each coarse label."
        )
    for label in sorted(labels):
        if (
            is_hidden(label)
            or "/" in label
            or "\0" in label
            or len(label) > MAX_NAME_CHARACTERS
            or label != label.strip()
        ):
            raise UserError(
                f"The coarse label {label!r} cannot name a folder; rename it: at most {MAX_NAME_CHARACTERS} "
                "characters, no '/', no '.' in front and no space around."
            )


def _place(entry: Entry, divided: bool) -> str:
    """Return the path of an image in ``RUN/images``, with a folder for its coarse label if ``divided``."""
    return "/".join([entry.split, *([entry.label] if divided else []), entry.place])


def _image(entry: Entry, seen: Glance, divided: bool) -> Image:
    size = seen.width, seen.height, int(seen.colour)
    return Image(entry.name, _place(entry, divided), entry.split, entry.label, seen.sha256, *size)


def save_thumbnails(run: Path, thumbnails: NDArray[np.uint8]) -> None:
    """Write the thumbnails of a run's images, uint8 [N, 16, 16]."""
    with replacing(run / THUMBNAILS) as temporary, temporary.open("wb") as file:
        np.save(file, thumbnails)


def link(file: Path, path: Path) -> None:
    """Link an image file into the run, or copy it where links are not possible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.symlink_to(file.resolve())
    except (OSError, NotImplementedError):
        shutil.copyfile(file, path)


def write_rows(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file, with its header even if there are no rows."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def listing(found: Iterable[Entry]) -> str:
    """Return a fingerprint of the files of IMAGES: the SHA-256 of their names, splits, labels, times and sizes."""
    digest = hashlib.sha256()
    for entry in found:
        digest.update(repr((entry.name, entry.split, entry.label, *stamp(entry.path))).encode())
    return digest.hexdigest()


def describe(images: list[Image], problems: list[Problem]) -> list[str]:
    """Return lines that say what was read: images of each coarse label, problems, and equal images under two labels."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for image in images:
        counts[image.coarse][image.split == TEST] += 1
    listed = ", ".join(
        f"{label} {train:,}" + (f" + {test:,} test" if test else "") for label, (train, test) in sorted(counts.items())
    )
    lines = [f"read: {len(images):,} images ({listed})"]
    kinds: dict[str, int] = defaultdict(int)
    for problem in problems:
        kinds[problem.kind] += 1
    words = {"unreadable": "unreadable", "equal": "equal to another", "label": "without a usable coarse label"}
    parts = [f"{kinds[kind]:,} {text}" for kind, text in words.items() if kinds[kind]]
    if parts:
        lines.append(f"left out: {', '.join(parts)}; {PROBLEMS} lists them")
    contradictions = [problem for problem in problems if problem.kind == "contradiction"]
    if contradictions:
        lines.append(
            f"left out: {len(contradictions):,} equal images under two coarse labels, either of which may be wrong:"
        )
        lines += [f"  {problem.file} {problem.problem}" for problem in contradictions[:LABELS_LISTED]]
    return lines
