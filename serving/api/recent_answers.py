"""The answers of the last requests, by their request ids, so that feedback can say of which it is.

They are in a file of their own that the workers share, beside the feedback: it is written all the time, may lose its
last moment when a worker is killed or power fails, and can be removed while the service is down.
"""

import logging
import sqlite3
import time
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import Predictions, joined
from clustnet.errors import UserError
from clustnet.feedback.feedback_file import MODELS, Answer, Labels, model_id
from clustnet.feedback.sqlite_file import SqliteFile
from serving.metrics.deferred import Tally

KIND = 0x434E414E  # "CNAN"
MOST_NOTES = 4000  # requests whose answers wait for the disk: more than come in a second
ANSWERS = """
CREATE TABLE IF NOT EXISTS answers (
    last INTEGER PRIMARY KEY,  -- how many images had been answered with this request's
    request_id TEXT NOT NULL UNIQUE, model INTEGER NOT NULL REFERENCES models (id), answered REAL NOT NULL,
    images BLOB NOT NULL
);
"""
ADD = "INSERT OR REPLACE INTO answers (last, request_id, model, answered, images) VALUES (?, ?, ?, ?, ?)"
FIND = """
SELECT name, version, classes, coarse_groups, answered, images
FROM answers JOIN models ON model = id WHERE request_id = ?
"""
IMAGE = np.dtype(
    [
        ("guess", "<u4"),
        ("guess_probability", "<f4"),
        ("coarse", "u1"),
        ("coarse_probability", "<f4"),
        ("expert", "<u2"),
        ("confidence", "<f4"),
        ("abstain", "?"),
    ]
)

Note = tuple[str, float, Predictions, Manifest]

logger = logging.getLogger("bentoml.clustnet")


class RecentAnswers:
    """The answers of all workers to the last images.

    Args:
        path: the file.
        most: how many images; older ones are forgotten.

    Raises:
        UserError: it is another file, or cannot be written.
    """

    def __init__(self, path: Path, most: int) -> None:
        self.most = most
        self._file = SqliteFile(path, KIND, (MODELS, ANSWERS), "NORMAL")
        # One of its own, as a slow disk must not hold up the metrics; and all in one piece, which is one transaction.
        self._tally = Tally(most=MOST_NOTES, piece=MOST_NOTES)
        self._told = ""

    def keep(self, request_id: str, outputs: Predictions, manifest: Manifest) -> None:
        """Keep the answer of a request, a moment later; this does not wait for the disk."""
        self._tally.add(self._write, (request_id, time.time(), outputs, manifest))

    def find(self, request_id: str) -> tuple[Labels, list[Answer]] | None:
        """Return a request's model and its answer to each image, None where they are not known, or not any more.

        It waits for the disk, so call it in a thread.
        """
        self._tally.flush()
        row = self._file.connection().execute(FIND, (request_id,)).fetchone()
        if row is None:
            return None
        *labels, answered, images = row
        model = Labels.read(*labels)
        return model, _unpacked(np.frombuffer(images, IMAGE), model, answered)

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._tally.flush()
        self._file.close()

    def _write(self, notes: list[Note]) -> None:
        try:
            with self._file.writing() as connection:
                self._insert(connection, notes)
            self._told = ""
        except (sqlite3.Error, OSError, UserError) as error:
            if str(error) != self._told:  # once, and not five times a second
                self._told = str(error)
                logger.error("Answers cannot be kept for feedback: %s", error)

    def _insert(self, connection: sqlite3.Connection, notes: list[Note]) -> None:
        (last,) = connection.execute("SELECT ifnull(max(last), 0) FROM answers").fetchone()
        for manifest in {id(manifest): manifest for *_, manifest in notes}.values():
            some = [note for note in notes if note[-1] is manifest]
            model = model_id(connection, Labels.of(manifest))
            packed = _packed(joined([outputs for _, _, outputs, _ in some]), manifest)
            ends = list(accumulate(len(outputs.routing) for _, _, outputs, _ in some))
            rows = [
                (last + end, request_id, model, answered, packed[end - len(outputs.routing) : end].tobytes())
                for end, (request_id, answered, outputs, _) in zip(ends, some, strict=True)
            ]
            connection.executemany(ADD, rows)
            last += ends[-1]
        connection.execute("DELETE FROM answers WHERE last <= ?", (last - self.most,))


def _packed(outputs: Predictions, manifest: Manifest) -> NDArray[np.void]:
    """Return what is kept of N answers, [N] of ``IMAGE``."""
    images = np.empty(len(outputs.routing), IMAGE)
    positive = outputs.positive_probability
    images["guess"] = outputs.class_probability.argmax(axis=1)
    images["guess_probability"] = outputs.class_probability.max(axis=1)
    images["coarse"] = positive > 0.5
    images["coarse_probability"] = np.maximum(positive, 1 - positive)
    images["expert"] = outputs.routing.argmax(axis=1)
    images["confidence"] = outputs.confidence
    images["abstain"] = manifest.abstention.refuses(outputs.confidence)
    return images


def _unpacked(images: NDArray[np.void], model: Labels, answered: float) -> list[Answer]:
    coarse_labels = list(model.coarse)
    return [
        Answer(answered, model.classes[guess], guess_probability, coarse_labels[coarse], *rest)
        for guess, guess_probability, coarse, *rest in images.tolist()
    ]
