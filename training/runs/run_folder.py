"""A run's folder: resolved recipe, checkpoints, scores per epoch, and what was said of each image.

::

    recipe.yaml                   every key, as it was resolved
    scores.csv                    one row per epoch and split
    checkpoints/epoch_001.pt      all that training goes on from
    images/epoch_001_train.csv    fine class, coarse label, two log-probabilities, routing, per image
    images/epoch_001_test.csv
    tensorboard/

With restarts each is such a run in a folder of its own, beside recipe.yaml and restarts.csv.
"""

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clustnet.errors import UserError
from clustnet.files import replacing, write_table, write_text
from training.engine.processes import is_first, on_first
from training.models.inference import Routed
from training.recipe.recipe import Recipe, read_recipe

Row = dict[str, Any]
RESTARTS = "restarts.csv"  # which of a run's restarts was kept
CHECKPOINTS = "checkpoints/epoch_*.pt"
SMALLEST_PROBABILITY = 1e-12


class RunFolder:
    """Reads and writes one run.

    Args:
        path: the run's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def kept(cls, path: Path) -> "RunFolder":
        """Return the run that stands for a folder: the kept restart, or the run itself."""
        if not (path / RESTARTS).is_file():
            return cls(path)
        with (path / RESTARTS).open(newline="", encoding="utf-8") as file:
            best = next(row["restart"] for row in csv.DictReader(file) if row["kept"] == "1")
        return cls(path / f"restart_{best}")

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    def exists(self) -> bool:
        """Tell whether the folder holds a run, finished or not."""
        return (self.path / "recipe.yaml").is_file()

    def begin(self, recipe: Recipe, resume: bool) -> None:
        """Write the recipe, or check that the run to be resumed has the same.

        Raises:
            UserError: there is a run and no wish to resume, the reverse, another recipe, or no folder can be made.
        """
        exists = self.exists()
        if exists and not resume:
            raise UserError(f"{self.path} already holds a run; add --resume to go on or choose another --out.")
        if resume and not exists:
            raise UserError(f"{self.path} holds no run to resume; leave out --resume to begin one.")
        if not exists:
            self._write_recipe(recipe)
        elif self.recipe().digest() != recipe.digest():
            raise UserError(f"{self.path} was begun with another recipe: {difference(self.recipe(), recipe)}.")

    @contextmanager
    def begun(self, recipe: Recipe, resume: bool) -> Iterator[None]:
        """Do as ``begin``, and take back all that was written if the block is refused before an epoch is finished.

        So a run whose recipe cannot be trained does not stand in the way of the one with a mended recipe.

        Raises:
            UserError: as ``begin``, and what the block raises.
        """
        resumed, held = self.exists(), set(self.path.glob("*"))
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        on_first(lambda: self.begin(recipe, resume))
        try:
            yield
        except UserError:
            if is_first() and not resumed and not any(self.path.rglob(CHECKPOINTS)):
                _remove(set(self.path.glob("*")) - held, missing)
            raise

    def recipe(self) -> Recipe:
        """Return the run's recipe.

        Raises:
            UserError: the folder holds no run.
        """
        if not self.exists():
            raise UserError(f"{self.path} is not a run: it holds no recipe.yaml; make one with 'clustnet train'.")
        return read_recipe(self.path / "recipe.yaml")

    def save_checkpoint(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Write the checkpoint of a finished epoch."""
        content = io.BytesIO()  # torch's own writer says of a full disk that a position is wrong
        torch.save(dict(state), content)
        with replacing(self.checkpoint(epoch)) as temporary:
            temporary.write_bytes(content.getbuffer())

    def last_epoch(self) -> int:
        """Return the last epoch with a checkpoint, 0 for none."""
        found = self.path.glob(CHECKPOINTS)
        return max((int(path.stem.removeprefix("epoch_")) for path in found), default=0)

    def load_checkpoint(self, epoch: int) -> dict[str, Any]:
        """Read the checkpoint of an epoch, tensors and plain values only.

        Raises:
            UserError: it is missing or damaged.
        """
        path = self.checkpoint(epoch)
        if not path.is_file():
            raise UserError(f"{self.path} has no finished epoch yet; train it first.")
        try:
            _check_crc(path)
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # noqa: BLE001 - on damaged files zipfile and torch raise a dozen types
            raise UserError(f"The checkpoint {path} is damaged; remove it to go on from the one before.") from None
        return state

    def write_scores(self, rows: Sequence[Row]) -> None:
        """Write all epochs' scores."""
        write_table(self.path / "scores.csv", rows)

    def read_scores(self, up_to: int) -> list[Row]:
        """Read the scores of the epochs up to one, empty before the first.

        Raises:
            UserError: the file is missing.
        """
        if up_to == 0:
            return []
        path = self.path / "scores.csv"
        if not path.is_file():
            raise UserError(f"{path} is missing, so the run cannot go on; restore it or begin another run.")
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(file)]
        return [row for row in rows if row["epoch"] <= up_to]

    def write_images(
        self, epoch: int, split: str, fine: NDArray[np.integer], coarse: NDArray[np.integer], routed: Routed
    ) -> None:
        """Write what was said of each image: targets, two log-probabilities and the routing."""
        positive = np.clip(routed.positive_probability, SMALLEST_PROBABILITY, 1 - 1e-7)[:, None]
        columns = np.hstack([np.log1p(-positive), np.log(positive), routed.routing])
        experts = [f"routing_{e}" for e in range(routed.routing.shape[1])]
        path = self.path / "images" / f"epoch_{epoch:03}_{split}.csv"
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["class", "coarse", "log_probability_0", "log_probability_1", *experts])
            numbers = [[f"{value:.6g}" for value in row] for row in columns.tolist()]
            writer.writerows([f, c, *row] for f, c, row in zip(fine, coarse, numbers, strict=True))

    def _write_recipe(self, recipe: Recipe) -> None:
        try:
            write_text(self.path / "recipe.yaml", recipe.to_yaml())
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror}); choose another --out.") from None

    def checkpoint(self, epoch: int) -> Path:
        """Return the path of an epoch's checkpoint, whether there is one or not."""
        return self.path / "checkpoints" / f"epoch_{epoch:03}.pt"


def _remove(entries: Iterable[Path], folders: Iterable[Path]) -> None:
    """Remove files and folders, then those of ``folders``, innermost first, that are empty."""
    for entry in entries:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    with suppress(OSError):  # another run may be in one of them by now
        for folder in folders:
            folder.rmdir()


def _check_crc(path: Path) -> None:
    """Raise where an entry does not have its CRC-32, which ``torch.load`` does not look at."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise zipfile.BadZipFile(damaged)


def _number(text: str) -> Any:
    try:
        return float(text) if not text.isdigit() else int(text)
    except ValueError:
        return text


def difference(old: Recipe, new: Recipe) -> str:
    """Name the first key in which two recipes differ, and its two values."""
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    key = next((key for key in before | after if before.get(key) != after.get(key)), None)
    if key is None:
        return "data.coarse named its groups in another order"
    return f"{key} was {json.dumps(before.get(key))} and is now {json.dumps(after.get(key))}"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
