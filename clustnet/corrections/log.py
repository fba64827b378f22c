"""The record of a review, ``RUN/review.jsonl``: lines are only added, and each is on the disk before it takes effect.

The first line identifies the subtypes that the record belongs to; every other line is an action with its serial number
and time. If the run is trained again, the record of its earlier subtypes is kept as ``review-1.jsonl``,
``review-2.jsonl``, ...
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from clustnet.corrections.actions import ACTION, AnyAction, MarkImages
from clustnet.corrections.state import History, add
from clustnet.errors import UserError
from clustnet.files import write_text

LOG, LOCK = "review.jsonl", ".review.lock"
STALE = "Somebody else changed this review in the meantime, so nothing was done; reload it and try again."

# Is called with actions and raises if one cannot be done; returns a function that applies them once they are on disk.
Prepare = Callable[[Sequence[AnyAction]], Callable[[], None]]


class StaleError(UserError):
    """An action was meant for an earlier state of the review."""


class Log:
    """The record of a review. Processes share it, and each sees what the others add.

    Args:
        run: the run's folder.
        digest: digest of the subtypes that the run found.
        say: called with a sentence about each repair.
    """

    def __init__(self, run: Path, digest: str, say: Callable[[str], None] = print) -> None:
        self.path, self.digest, self.say = run / LOG, digest, say
        self.serial = 0
        self._read_to = 0
        self._file: int | None = None

    def news(self) -> list[AnyAction]:
        """Return the actions that were added since the last call; the first call returns all of them.

        Raises:
            UserError: a line is damaged, or the record was replaced in the meantime.
        """
        if not self._read_to and not self.path.exists():
            return []
        with self._locked(writing=False):
            return self._news()

    def append(self, actions: Sequence[AnyAction], prepare: Prepare, expected: int | None = None) -> None:
        """Add actions, which are on the disk when this returns.

        Args:
            actions: the actions.
            prepare: is called with the actions that others added, and then with these.
            expected: the serial number that the actions are meant to follow; None for any.

        Raises:
            StaleError: others have added actions since.
            UserError: an action cannot be done, or the disk is full.
        """
        with self._locked():
            prepare(self._news())()
            if expected is not None and expected != self.serial:
                raise StaleError(STALE)
            done = prepare(actions)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            lines = [
                {"serial": self.serial + number, "at": now, **action.model_dump(mode="json")}
                for number, action in enumerate(actions, 1)
            ]
            self._write(lines)
            self.serial += len(lines)
            done()

    @contextmanager
    def _locked(self, writing: bool = True) -> Iterator[None]:
        """Keep other processes and threads from reading or writing the record in the block.

        Raises:
            UserError: ``writing`` is set, but the run cannot be written.
        """
        try:
            handle = os.open(self.path.with_name(LOCK), os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            if writing:
                raise UserError(f"{self.path} cannot be written ({error.strerror}), so nothing was done.") from None
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _news(self) -> list[AnyAction]:
        if not self.path.exists() and not self._read_to:
            return []
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                file.seek(self._read_to)
                content = file.read()
        except FileNotFoundError:
            status = None
        if status is None or status.st_size < self._read_to or self._file not in (None, status.st_ino):
            raise UserError(f"{self.path} was replaced while it was in use; start the review again.")
        self._file = status.st_ino
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, self._read_to + whole)
            self.say(f"The last line of {self.path} was cut short when it was written; it was removed.")
        lines = content[:whole].splitlines()
        if self._read_to == 0 and lines and _header(lines.pop(0), self.path) != self.digest:
            self._begin_again(lines)
            self._file = None
            return self._news()
        actions = [self._parsed(line, number) for number, line in enumerate(lines, self.serial + 1)]
        self._read_to += whole
        self.serial += len(actions)
        return actions

    def _parsed(self, line: bytes, serial: int) -> AnyAction:
        try:
            content = json.loads(line)
            if content.pop("serial") != serial:
                raise ValueError("its serial number is out of order")
            content.pop("at")
            return ACTION.validate_python(content)
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
            raise UserError(
                f"{self.path} is damaged: line {serial + 1} is not the action with the serial number {serial}; restore "
                "the file, or remove that line and all after it."
            ) from None

    def _write(self, lines: Sequence[dict[str, object]]) -> None:
        begin = [] if self._read_to else [{"serial": 0, "found": self.digest}]
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [*begin, *lines]).encode()
        handle = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        try:
            _write_all(handle, content)
            os.fsync(handle)
        except OSError as error:
            os.ftruncate(handle, self._read_to)
            raise UserError(f"{self.path} cannot be written ({error.strerror}), so nothing was done.") from None
        finally:
            os.close(handle)
        if begin:
            _sync_folder(self.path.parent)
        self._read_to += len(content)

    def _begin_again(self, lines: Sequence[bytes]) -> None:
        """Keep the record of earlier subtypes under another name, and begin a new one with the marks of its images."""
        self.serial = 0
        marks = carried([self._parsed(line, number) for number, line in enumerate(lines, 1)])
        number = 1
        while (old := self.path.with_name(f"review-{number}.jsonl")).exists():
            number += 1
        os.link(self.path, old)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entries = [
            {"serial": serial, "at": now, **mark.model_dump(mode="json")} for serial, mark in enumerate(marks, 1)
        ]
        content = [json.dumps(line, ensure_ascii=False) for line in [{"serial": 0, "found": self.digest}, *entries]]
        write_text(self.path, "\n".join(content) + "\n")
        self.say(f"{self.path.parent} has new subtypes, so a new record begins; the earlier one is {old.name}.")


def carried(actions: Sequence[AnyAction]) -> list[MarkImages]:
    """Return the marks that hold after all actions; they belong to images, so they outlive subtypes."""
    history = History([], [])
    for action in actions:
        add(history, action)
    return [action for action in history.done if isinstance(action, MarkImages)]


def _header(line: bytes, path: Path) -> str:
    try:
        return str(json.loads(line)["found"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not the record of a review; move it away to start one.") from None


def _write_all(handle: int, content: bytes) -> None:
    while content:
        content = content[os.write(handle, content) :]


def _sync_folder(folder: Path) -> None:
    """Make sure that the name of a new file is on the disk, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
