"""What the page shows, as JSON: the subtypes as they are now, and what is known of each image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustnet.corrections.actions import LEAVING_OUT, Change, MarkImages, Merge, Move, Rename, Split
from clustnet.corrections.session import Session
from clustnet.corrections.state import Review, Subtype
from review.run import Run
from training.discover.merges import Group, groups, merge_tree, nearest
from training.discover.sheets import select
from training.discover.subtypes import Row, typicality


def facts(run: Run) -> dict[str, Any]:
    """Return what never changes in a review: the images and what the run said of them."""
    place = {row.file: number for number, row in enumerate(run.rows)}
    return {
        "title": run.title,
        "labels": list(run.found.labels),
        "pictures": run.pictures is not None,
        "files": [row.file for row in run.rows],
        "confidence": [round(row.confidence, 3) for row in run.rows],
        "suspects": {place[row.file]: row.suspect for row in run.rows if row.suspect},
        "duplicates": {place[row.file]: place[row.duplicate_of] for row in run.rows if row.duplicate_of in place},
    }


def state(run: Run, session: Session) -> dict[str, Any]:
    """Return the subtypes as they are now, with the images of their sheets, and the tree of merges."""
    review, history, serial = session.now()
    ordered = review.ordered()
    number = {subtype.id: place for place, subtype in enumerate(ordered)}
    of = np.array([number[name] for name in review.of], np.int64)
    rows, known = _rows(run, review, of), _groups(run, of, ordered)
    near = {name: pair for own in known.values() for name, pair in nearest(own).items()}
    return {
        "serial": serial,
        "subtypes": [_subtype(one, rows, np.flatnonzero(of == place), near) for place, one in enumerate(ordered)],
        "next": {label: review.next_id(label) for label in run.found.labels},
        "of": of.tolist(),
        "marks": {review.place[file]: list(kinds.values()) for file, kinds in review.marks.items() if kinds},
        "tree": [merge._asdict() for label, own in known.items() for merge in merge_tree(label, own)],
        "undo": words(history.done[-1]) if history.done else None,
        "redo": words(history.undone[-1]) if history.undone else None,
    }


def _rows(run: Run, review: Review, of: NDArray[np.int64]) -> list[Row]:
    """Return the table of images with how typical each is of its subtype now, and which are outliers now."""
    typical = typicality(run.space, of).tolist()
    outlier = {"outlier": 1, "no_outlier": 0}
    changed = {
        review.place[file]: outlier[kinds["outlier"]] for file, kinds in review.marks.items() if "outlier" in kinds
    }
    return [
        row._replace(typicality=typical[place], outlier=changed.get(place, row.outlier))
        for place, row in enumerate(run.rows)
    ]


def _groups(run: Run, of: NDArray[np.int64], ordered: list[Subtype]) -> dict[str, list[Group]]:
    """Return what is known of the images of each subtype, by coarse label."""
    found: dict[str, list[Group]] = {}
    names = [subtype.id for subtype in ordered]
    for place, subtype in enumerate(ordered):
        inside = np.flatnonzero(of == place)
        found.setdefault(subtype.coarse, []).extend(groups(run.space[inside], of[inside], names))
    return found


def _subtype(
    one: Subtype, rows: list[Row], members: NDArray[np.int64], near: dict[str, tuple[str, float]]
) -> dict[str, Any]:
    other, distance = near.get(one.id, ("", 0.0))
    return {
        "id": one.id,
        "coarse": one.coarse,
        "name": one.name,
        "images": len(members),
        "sure": float(np.mean([rows[place].confidence for place in members])),
        "nearest": other,
        "distance": round(distance, 3),
        "sheet": select(rows, members)._asdict(),
    }


def words(action: Change) -> str:
    """Return an action in a few words."""
    match action:
        case Rename():
            return f"name {action.subtype} {action.name!r}" if action.name else f"no name for {action.subtype}"
        case Merge():
            return f"merge {', '.join(action.subtypes)}"
        case Split():
            return f"split {action.subtype} in {len(action.parts) + 1}"
        case Move():
            return f"move {_count(action.files)} to {action.to}"
        case MarkImages():
            return f"{_count(action.files)}: {LEAVING_OUT.get(action.mark, action.mark.replace('_', ' '))}"


def _count(files: tuple[str, ...]) -> str:
    return f"{len(files):,} images" if len(files) > 1 else "1 image"
