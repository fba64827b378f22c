"""The feedback file: the model's answers to images, and the labels that people say are true.

It is a SQLite file to which rows are only added. An added row survives a killed process and a power failure.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.groups import CoarseGrouping
from clustnet.errors import UserError
from clustnet.sqlite_file import SqliteFile, reading

# SQLite's application id: "CNFB".
FEEDBACK_FILE_ID = 0x434E4642
MODELS = """
CREATE TABLE IF NOT EXISTS models (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL,
    classes TEXT NOT NULL, coarse_groups TEXT NOT NULL,
    UNIQUE (name, version, classes, coarse_groups)
);
"""
FEEDBACK = """
CREATE TABLE IF NOT EXISTS feedback (
    number INTEGER PRIMARY KEY, request_id TEXT NOT NULL, image INTEGER NOT NULL,
    model INTEGER NOT NULL REFERENCES models (id), answered REAL NOT NULL,
    guess TEXT NOT NULL, guess_probability REAL NOT NULL, coarse TEXT NOT NULL, coarse_probability REAL NOT NULL,
    expert INTEGER NOT NULL, confidence REAL NOT NULL, abstain INTEGER NOT NULL,
    label TEXT NOT NULL, given REAL NOT NULL,
    UNIQUE (request_id, image)
);
CREATE TRIGGER IF NOT EXISTS no_change BEFORE UPDATE ON feedback
BEGIN SELECT RAISE(ABORT, 'feedback is only added'); END;
CREATE TRIGGER IF NOT EXISTS no_loss BEFORE DELETE ON feedback
BEGIN SELECT RAISE(ABORT, 'feedback is only added'); END;
CREATE VIEW IF NOT EXISTS labelled_answers AS
SELECT name, version, classes, coarse_groups, request_id, image,
    answered, guess, guess_probability, coarse, coarse_probability, expert, confidence, abstain,
    label, given, number, model FROM feedback JOIN models ON model = id;
"""
ADD = """
INSERT INTO feedback (
    model, request_id, image,
    answered, guess, guess_probability, coarse, coarse_probability, expert, confidence, abstain,
    label, given
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_MODEL = "INSERT OR IGNORE INTO models (name, version, classes, coarse_groups) VALUES (?, ?, ?, ?)"
FIND_MODEL = "SELECT id FROM models WHERE (name, version, classes, coarse_groups) = (?, ?, ?, ?)"


class FileFullError(UserError):
    """The file holds as many rows as it may."""


@dataclass(frozen=True)
class Labels:
    """A model by its name and version, its classes, and the indices of the classes of each coarse label."""

    name: str
    version: str
    classes: tuple[str, ...]
    coarse: dict[str, list[int]]

    @classmethod
    def of(cls, manifest: Manifest) -> "Labels":
        """Return the labels of a bundle."""
        grouping = manifest.grouping()
        coarse = dict(zip(grouping.labels, map(list, grouping.groups), strict=True))
        return cls(manifest.name, manifest.version, manifest.class_names, coarse)

    @classmethod
    def read(cls, name: str, version: str, classes: str, coarse: str) -> "Labels":
        """Return the labels in a row of the table ``models``."""
        return cls(name, version, tuple(json.loads(classes)), json.loads(coarse))

    def row(self) -> tuple[str, str, str, str]:
        """Return the arguments of ``read``."""
        return self.name, self.version, json.dumps(self.classes), json.dumps(self.coarse)

    def grouping(self) -> CoarseGrouping:
        """Return the classes of each coarse label."""
        return CoarseGrouping(tuple(self.coarse), tuple(map(tuple, self.coarse.values())))


@dataclass(frozen=True)
class Answer:
    """A model's answer to one image of a request; ``answered`` is in seconds since 1970."""

    answered: float
    guess: str
    guess_probability: float
    coarse: str
    coarse_probability: float
    expert: int
    confidence: float
    abstain: bool


@dataclass(frozen=True)
class Feedback:
    """One row: an image, given by its request and its place there, the answer, and the label said to be true.

    ``given`` is the time of the feedback in seconds since 1970.
    """

    request_id: str
    image: int
    answer: Answer
    label: str
    given: float

    @property
    def correct(self) -> bool:
        """Whether the guess is the label."""
        return self.answer.guess == self.label


class FeedbackFile:
    """The feedback file of a service, which its workers share.

    Its methods wait for the disk, so call them in a thread, one at a time.

    Args:
        path: the file.
        max_rows: the largest number of rows.

    Raises:
        UserError: the file is of another kind, or cannot be written.
    """

    def __init__(self, path: Path, max_rows: int) -> None:
        self.max_rows = max_rows
        self._file = SqliteFile(path, FEEDBACK_FILE_ID, (MODELS, FEEDBACK), "FULL")

    def find(self, request_id: str, image: int) -> tuple[Labels, Feedback] | None:
        """Return the feedback on an image, or None if there is none."""
        query = "SELECT * FROM labelled_answers WHERE request_id = ? AND image = ?"
        row = self._file.connection().execute(query, (request_id, image)).fetchone()
        return _of_row(row) if row else None

    def add(self, labels: Labels, request_id: str, image: int, answer: Answer, label: str) -> Feedback:
        """Add the feedback on an image and return its row, which is durable by then.

        Raises:
            FileFullError: there is no room.
            sqlite3.IntegrityError: there is feedback on this image already.
            sqlite3.Error: the file cannot be written.
        """
        row = Feedback(request_id, image, answer, label, time.time())
        with self._file.writing() as connection:
            # No row is ever removed, so the last number is the count of rows.
            (rows,) = connection.execute("SELECT ifnull(max(number), 0) FROM feedback").fetchone()
            if rows >= self.max_rows:
                raise FileFullError(
                    f"The feedback file is full at {rows} rows; ask the operator of the service to make room."
                )
            model = model_id(connection, labels)
            connection.execute(ADD, (model, request_id, image, *astuple(answer), label, row.given))
        return row

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def model_id(connection: sqlite3.Connection, labels: Labels) -> int:
    """Return the id of a model in the table ``models``, to which a new model is added."""
    connection.execute(ADD_MODEL, labels.row())
    (found,) = connection.execute(FIND_MODEL, labels.row()).fetchone()
    return int(found)


def read_feedback(path: Path) -> Iterator[tuple[Labels, list[Feedback]]]:
    """Yield each model with feedback in a file, and all its feedback in the order in which it came.

    Raises:
        UserError: the file is not a feedback file, or cannot be read.
    """
    with reading(path, FEEDBACK_FILE_ID) as connection:
        for (model,) in connection.execute("SELECT DISTINCT model FROM feedback ORDER BY model").fetchall():
            query = "SELECT * FROM labelled_answers WHERE model = ? ORDER BY number"
            rows = connection.execute(query, (model,)).fetchall()
            yield _of_row(rows[0])[0], [_of_row(row)[1] for row in rows]


def _of_row(row: Sequence[Any]) -> tuple[Labels, Feedback]:
    """Return the model and the feedback of a row of the view ``labelled_answers``."""
    *labels, request_id, image = row[:6]
    answered, guess, guess_probability, coarse, coarse_probability, expert, confidence, abstain = row[6:14]
    label, given = row[14:16]
    answer = Answer(answered, guess, guess_probability, coarse, coarse_probability, expert, confidence, bool(abstain))
    return Labels.read(*labels), Feedback(request_id, image, answer, label, given)
