"""The subtypes of a run after a person's corrections: what was found, with every action applied in turn."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clustnet.corrections.actions import (
    LEAVING_OUT,
    AnyAction,
    Change,
    MarkImages,
    Merge,
    Move,
    Redo,
    Rename,
    Split,
    Undo,
)
from clustnet.errors import UserError

Labels = NDArray[np.int64]


class Subtype(NamedTuple):
    """A subtype.

    Args:
        id: ``LABEL/1``, ``LABEL/2``, ...; it never changes.
        coarse: its coarse label.
        name: the name that a person gave it; empty until then.
    """

    id: str
    coarse: str
    name: str = ""

    @property
    def title(self) -> str:
        """The name, or else the id."""
        return self.name or self.id


@dataclass(frozen=True)
class Found:
    """What a run found, before any correction.

    Args:
        files: the N images.
        labels: the K coarse labels.
        subtypes: the C subtypes.
        subtype: int64 [N], the place of each image's subtype in ``subtypes``.
    """

    files: Sequence[str]
    labels: Sequence[str]
    subtypes: Sequence[Subtype]
    subtype: Labels

    def digest(self) -> str:
        """Return a SHA-256 that changes with any part of what was found."""
        digest = hashlib.sha256(json.dumps([list(self.files), list(self.labels), list(self.subtypes)]).encode())
        digest.update(np.ascontiguousarray(self.subtype, np.int64).tobytes())
        return digest.hexdigest()


@dataclass
class Review:
    """The subtypes as they are now.

    Args:
        found: what the run found.
        subtypes: the subtypes, by id.
        of: object [N], the id of each image's subtype, in the order of ``found.files``.
        marks: the marks of images, by file and by kind.
        touched: the files that a person moved to another subtype.
    """

    found: Found
    subtypes: dict[str, Subtype]
    of: NDArray[np.object_]
    marks: dict[str, dict[str, str]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.place = {file: place for place, file in enumerate(self.found.files)}
        self._sizes = Counter(self.of.tolist())
        self._numbers = dict.fromkeys(self.found.labels, 0)
        for subtype in self.subtypes.values():
            self._count(subtype.id)

    @classmethod
    def of_run(cls, found: Found) -> "Review":
        """Return the review of a run before any correction."""
        ids = np.array([subtype.id for subtype in found.subtypes], object)
        return cls(found, {subtype.id: subtype for subtype in found.subtypes}, ids[found.subtype])

    def members(self, subtype: str) -> Labels:
        """Return the places of a subtype's images, int64 [M]."""
        return np.flatnonzero(self.of == subtype)

    def ordered(self) -> list[Subtype]:
        """Return the subtypes, sorted by coarse label and then by number."""
        return sorted(self.subtypes.values(), key=lambda one: (one.coarse, int(one.id.rpartition("/")[2])))

    def coarse(self, file: str) -> str:
        """Return the coarse label of an image, which is that of its subtype."""
        return self.subtypes[self.of[self.place[file]]].coarse

    def left_out(self, file: str) -> str:
        """Return the first mark that leaves an image out, or an empty string if there is none."""
        return next((mark for mark in self.marks.get(file, {}).values() if mark in LEAVING_OUT), "")

    def next_id(self, label: str, beyond: int = 0) -> str:
        """Return the id of the next new subtype of a coarse label; ``beyond`` skips that many ids."""
        return f"{label}/{self._numbers[label] + 1 + beyond}"

    def apply(self, action: Change) -> None:
        """Do one action; one that cannot be done changes nothing.

        Raises:
            UserError: the action is not possible, for example because a subtype is missing or a name is taken.
        """
        match action:
            case Rename():
                self._rename(action)
            case Merge():
                self._merge(action)
            case Split():
                self._split(action)
            case Move():
                self._move(action)
            case MarkImages():
                self._mark(action)

    def _rename(self, action: Rename) -> None:
        subtype, name = self.subtype(action.subtype), action.name.strip()
        label, _, number = name.rpartition("/")
        if name != subtype.id and label in self._numbers and number.isdigit():
            raise UserError(f"The name {name!r} looks like the id of a subtype; choose another name.")
        taken = next((other for other in self.subtypes.values() if other.name == name != "" and other != subtype), None)
        if taken is not None and taken.id != subtype.id:
            raise UserError(f"The name {name!r} already belongs to {taken.id}; choose another name, or merge the two.")
        self.subtypes[subtype.id] = subtype._replace(name="" if name == subtype.id else name)

    def _merge(self, action: Merge) -> None:
        first, *others = [self.subtype(name) for name in dict.fromkeys(action.subtypes)]
        if not others:
            raise UserError(f"A merge needs two different subtypes; {first.id} is named twice.")
        for other in others:
            if other.coarse != first.coarse:
                raise UserError(
                    f"{first.id} and {other.id} have different coarse labels, so they cannot be merged; move images "
                    "to change their label."
                )
        for other in others:
            self._put(self.members(other.id), first.id)
        if not first.name:
            named = next((other.name for other in others if other.name), "")
            self.subtypes[first.id] = first._replace(name=named)
        for other in others:
            del self.subtypes[other.id]

    def _split(self, action: Split) -> None:
        subtype = self.subtype(action.subtype)
        for number, name in enumerate(action.parts):
            if name != self.next_id(subtype.coarse, number):
                raise UserError(
                    f"{name!r} cannot be the id of a new part of {subtype.id}; the next is "
                    f"{self.next_id(subtype.coarse, number)}."
                )
        parts = {name: self.places(files) for name, files in action.parts.items()}
        moved = np.concatenate(list(parts.values()))
        if len(np.unique(moved)) < len(moved) or not (self.of[moved] == subtype.id).all():
            raise UserError(f"The parts of {subtype.id} must hold its own images, each in exactly one part.")
        if len(moved) == self._sizes[subtype.id]:
            raise UserError(f"A split must leave images in {subtype.id}; to rename all of them, use rename.")
        for name, places in parts.items():
            self._make(name, subtype.coarse)
            self._put(places, name)

    def _move(self, action: Move) -> None:
        places = self.places(action.files)
        if action.to not in self.subtypes:
            label = action.to.rpartition("/")[0]
            if label not in self._numbers or action.to != self.next_id(label):
                self.subtype(action.to)
            self._make(action.to, label)
        sources = set(self.of[places].tolist())
        self._put(places, action.to)
        self.touched.update(action.files)
        for source in sources:
            if not self._sizes[source]:
                del self.subtypes[source]

    def _mark(self, action: MarkImages) -> None:
        self.places(action.files)
        kind = action.mark.rpartition("_")[2]
        for file in action.files:
            self.marks[file] = self.marks.get(file, {}) | {kind: action.mark}

    def _put(self, places: Labels, name: str) -> None:
        """Put images into a subtype."""
        # An image may be listed twice.
        places = np.unique(places)
        self._sizes.subtract(self.of[places].tolist())
        self._sizes[name] += len(places)
        self.of[places] = name

    def _make(self, name: str, label: str) -> None:
        self.subtypes[name] = Subtype(name, label)
        self._count(name)

    def _count(self, name: str) -> None:
        label, _, number = name.rpartition("/")
        if label in self._numbers and number.isdigit():
            self._numbers[label] = max(self._numbers[label], int(number))

    def subtype(self, name: str) -> Subtype:
        """Return a subtype by its id.

        Raises:
            UserError: there is no such subtype.
        """
        if name not in self.subtypes:
            raise UserError(
                f"There is no subtype {name!r}; the subtypes are {', '.join(one.id for one in self.ordered())}."
            )
        return self.subtypes[name]

    def places(self, files: Sequence[str]) -> Labels:
        """Return the places of images, int64 [M].

        Raises:
            UserError: an image is not in the run.
        """
        missing = next((file for file in files if file not in self.place), None)
        if missing is not None:
            raise UserError(f"There is no image {missing!r} in this run; subtypes.csv lists them.")
        return np.array([self.place[file] for file in files], np.int64)

    def copy(self) -> "Review":
        """Return an independent copy."""
        made = replace(
            self,
            subtypes=dict(self.subtypes),
            of=self.of.copy(),
            marks={file: dict(kinds) for file, kinds in self.marks.items()},
            touched=set(self.touched),
        )
        made._numbers = dict(self._numbers)
        return made


class History(NamedTuple):
    """The actions in effect, and the undone actions; redo repeats the last undone one."""

    done: list[Change]
    undone: list[Change]


def add(history: History, action: AnyAction) -> None:
    """Add an action to a history.

    Raises:
        UserError: there is nothing to undo or to do again.
    """
    match action:
        case Undo():
            if not history.done:
                raise UserError("There is nothing to undo.")
            history.undone.append(history.done.pop())
        case Redo():
            if not history.undone:
                raise UserError("There is nothing to redo.")
            history.done.append(history.undone.pop())
        case _:
            history.done.append(action)
            history.undone.clear()


def replay(found: Found, actions: Iterable[AnyAction]) -> tuple[Review, History]:
    """Return the review after all actions, and the history.

    Raises:
        UserError: an action cannot be done.
    """
    history = History([], [])
    for action in actions:
        add(history, action)
    review = Review.of_run(found)
    for change in history.done:
        review.apply(change)
    return review, history
