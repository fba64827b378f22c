"""The step ``write``: the tables, the contact sheets and the report of a run.

::

    RUN/subtypes.csv   a row per image
    RUN/summary.csv    a row per subtype
    RUN/merges.csv     the tree of merges
    RUN/sheets/        a contact sheet per subtype, PNG
    RUN/report.html    all of it on one page; it is written last
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clustnet.files import replacing_folder, write_text
from training.discover import merges, sheets, subtypes
from training.discover.collection import Collection
from training.discover.progress import show
from training.discover.reading import THUMBNAILS, load_problems, write_rows
from training.discover.report import Report, page
from training.discover.subtypes import Assignment, Row, Summary
from training.discover.table import Images, table

SHEETS, REPORT, MERGES, SUMMARY = "sheets", "report.html", "merges.csv", "summary.csv"


def write(
    found: Collection, assignment: Assignment, title: str, notes: Sequence[str], commands: Sequence[str], seed: int
) -> None:
    """Write everything that a person looks at.

    Args:
        found: the images.
        assignment: the subtype of each image.
        title: name of IMAGES.
        notes: sentences that say how the subtypes were found.
        commands: what to type next.
        seed: seeds the folds by which suspects are found.
    """
    tree, near = _merges(found, assignment)
    rows = _rows(found, assignment, seed)
    lines = subtypes.summaries(assignment, near)
    subtypes.write_subtypes(found.run / subtypes.SUBTYPES, rows)
    write_rows(found.run / SUMMARY, Summary._fields, lines)
    rounded = [merge._replace(distance=round(merge.distance, 4)) for merge in tree]
    write_rows(found.run / MERGES, merges.Merge._fields, rounded)
    drawn = _draw(found, rows, lines, assignment) if has_images(found.run) else {}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for image in found.images:
        counts[image.coarse][image.split] += 1
    report = Report(title, counts, lines, drawn, tree, rows, load_problems(found.run), notes, commands)
    write_text(found.run / REPORT, page(report))


def has_images(run: Path) -> bool:
    """Return whether a run is on images, not on embeddings alone."""
    return (run / THUMBNAILS).is_file()


def _merges(found: Collection, assignment: Assignment) -> tuple[list[merges.Merge], dict[str, tuple[str, float]]]:
    """Return the tree of merges of all coarse labels, and each subtype's nearest other one."""
    space, tree = found.space, list[merges.Merge]()
    near: dict[str, tuple[str, float]] = {}
    for label, name in enumerate(found.labels):
        inside = found.inside(label)
        groups = merges.groups(space[inside], assignment.subtype[inside], assignment.names)
        tree += merges.merge_tree(name, groups)
        near |= merges.nearest(groups)
    return tree, near


def _rows(found: Collection, assignment: Assignment, seed: int) -> list[Row]:
    """Return the table of all images."""
    thumbnails = np.load(found.run / THUMBNAILS) if has_images(found.run) else None
    images = Images([image.file for image in found.images], found.coarse, found.labels, found.train)
    return table(images, found.space, thumbnails, assignment, seed)


def _draw(found: Collection, rows: Sequence[Row], lines: Sequence[Summary], assignment: Assignment) -> dict[str, bytes]:
    """Write the contact sheets, and return them as JPEG."""
    files, drawn = found.files, {}
    with replacing_folder(found.run / SHEETS) as folder:
        for number, line in enumerate(show(lines, [line.images for line in lines], "sheets")):
            members = np.flatnonzero(assignment.subtype == number)
            if not len(members):
                continue
            title = f"{line.subtype}   {line.images:,} images, {line.sure:.0%} sure"
            made = sheets.sheet(title, sheets.select(rows, members), files)
            made.save(folder / sheets.file_name(line.subtype))
            drawn[line.subtype] = sheets.jpeg(made)
    return drawn
