"""The answers to the last requests, by their request ids, so that feedback can name one of them.

They are in a file of their own that the workers share, beside the feedback: it is written all the time, may lose its
last second when a worker is killed or power fails, and can be removed while the service is down.
"""

import logging
import sqlite3
import time
from collections import deque
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import Manifest
from clustnet.bundles.predictor import Predictions, joined
from clustnet.bundles.tree import guessed
from clustnet.errors import UserError
from clustnet.feedback.feedback_file import MODELS, Answer, Labels, model_id
from clustnet.sqlite_file import SqliteFile

# SQLite's application id: "CNAN".
ANSWERS_FILE_ID = 0x434E414E
# The most requests whose answers wait for the disk: more than arrive in a second.
MAX_WAITING_REQUESTS = 4000
# Earlier releases kept answers of two coarse labels in the table ``answers``.
ANSWERS = """
DROP TABLE IF EXISTS answers;
CREATE TABLE IF NOT EXISTS recent_answers (
    last INTEGER PRIMARY KEY,  -- how many images had been answered with this request's
    request_id TEXT NOT NULL UNIQUE, model INTEGER NOT NULL REFERENCES models (id), answered REAL NOT NULL,
    images BLOB NOT NULL
);
"""
ADD = "INSERT OR REPLACE INTO recent_answers (last, request_id, model, answered, images) VALUES (?, ?, ?, ?, ?)"
FIND = """
SELECT name, version, classes, coarse_groups, answered, images
FROM recent_answers JOIN models ON model = id WHERE request_id = ?
"""
IMAGE = np.dtype(
    [
        ("guess", "<u4"),
        ("guess_probability", "<f4"),
        ("coarse", "<u2"),
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
        max_images: the most images whose answers are kept; older answers are forgotten.

    Raises:
        UserError: the file is of another kind, or cannot be written.
    """

    def __init__(self, path: Path, max_images: int) -> None:
        self.max_images = max_images
        self._file = SqliteFile(path, ANSWERS_FILE_ID, (MODELS, ANSWERS), "NORMAL")
        self._waiting: deque[Note] = deque(maxlen=MAX_WAITING_REQUESTS)
        self._reported = ""

    def keep(self, request_id: str, outputs: Predictions, manifest: Manifest) -> None:
        """Keep the answer to a request, which the next ``write`` writes; this does not wait for the disk."""
        self._waiting.append((request_id, time.time(), outputs, manifest))

    def write(self) -> None:
        """Write all waiting answers in one transaction.

        This waits for the disk, as ``find`` does, so call both in a thread, one at a time.
        """
        notes = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not notes:
            return
        try:
            with self._file.writing() as connection:
                self._insert(connection, notes)
            self._reported = ""
        except (sqlite3.Error, OSError, UserError) as error:
            # Logged once, and not five times a second.
            if str(error) != self._reported:
                self._reported = str(error)
                logger.error("Answers cannot be kept for feedback: %s", error)

    def find(self, request_id: str) -> tuple[Labels, list[Answer]] | None:
        """Return a request's model and the answer for each image, None if they are unknown or no longer kept."""
        self.write()
        row = self._file.connection().execute(FIND, (request_id,)).fetchone()
        if row is None:
            return None
        *labels, answered, images = row
        model = Labels.read(*labels)
        return model, _unpacked(np.frombuffer(images, IMAGE), model, answered)

    def close(self) -> None:
        """Write the waiting answers, and close the file."""
        self.write()
        self._file.close()

    def _insert(self, connection: sqlite3.Connection, notes: list[Note]) -> None:
        (last,) = connection.execute("SELECT ifnull(max(last), 0) FROM recent_answers").fetchone()
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
        connection.execute("DELETE FROM recent_answers WHERE last <= ?", (last - self.max_images,))


def _packed(outputs: Predictions, manifest: Manifest) -> NDArray[np.void]:
    """Return what is kept of the answers for N images, an array [N] of dtype ``IMAGE``."""
    images = np.empty(len(outputs.routing), IMAGE)
    guess = guessed(outputs, manifest)
    images["guess"] = guess
    images["guess_probability"] = outputs.class_probability[np.arange(len(guess)), guess]
    images["coarse"] = outputs.coarse_probability.argmax(axis=1)
    images["coarse_probability"] = outputs.coarse_probability.max(axis=1)
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
