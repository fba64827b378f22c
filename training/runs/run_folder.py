"""A run's folder: resolved recipe, checkpoints, scores per epoch, and the predictions for each image.

::

    recipe.yaml                   every key, as it was resolved
    scores.csv                    one row per epoch and split
    checkpoints/epoch_001.pt      network, its spec and, in the last one, everything that training goes on from
    images/epoch_001_train.csv    file, fine class, coarse label, log-probability of each coarse label, routing
    images/epoch_001_test.csv     the same for the test split, where there is one
    tensorboard/                  and mlflow/, wandb/, tracking.json, of the trackers that the recipe names
    embeddings/                   of an encoder, where the method reads them
    vis/                          pictures, see ``training.pictures.gallery``

``training.runs.keeping`` says which checkpoints stay.

There is a column ``file`` if the images came from files; ``class`` is empty if it is not known.

With restarts, each of them is such a run in its own folder, beside recipe.yaml and restarts.csv.
"""

import csv
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.errors import UserError
from clustnet.files import replacing, shown, write_table, write_text
from training.engine.processes import is_first, on_first
from training.models.build import build_network
from training.models.inference import Routed
from training.models.mixture import GatedExperts
from training.models.spec import NetworkSpec, read_spec
from training.recipe.reading import read_recipe
from training.recipe.recipe import BaseRecipe
from training.runs.checkpoint import load_state, save_state

Row = dict[str, Any]
# Which of a run's restarts was kept.
RESTARTS = "restarts.csv"
CHECKPOINTS = "checkpoints/epoch_*.pt"
MIN_PROBABILITY = 1e-12


class RunFolder:
    """Reads and writes one run.

    Args:
        path: the run's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def kept(cls, path: Path) -> "RunFolder":
        """Return the run that was kept of a folder of restarts, or else the run in the folder itself."""
        if not (path / RESTARTS).is_file():
            return cls(path)
        with (path / RESTARTS).open(newline="", encoding="utf-8") as file:
            best = next(row["restart"] for row in csv.DictReader(file) if row["kept"] == "1")
        return cls(path / f"restart_{best}")

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def pictures(self) -> Path:
        """The folder of the pictures."""
        return self.path / "vis"

    @property
    def embeddings(self) -> Path:
        """The folder of the embeddings, where the method reads those of an encoder; all restarts share it."""
        restart = self.path.name.startswith("restart_") and (self.path.parent / "recipe.yaml").is_file()
        return (self.path.parent if restart else self.path) / "embeddings"

    def exists(self) -> bool:
        """Return whether the folder holds a run, finished or not."""
        return (self.path / "recipe.yaml").is_file()

    def begin(self, recipe: BaseRecipe, resume: bool) -> None:
        """Write the recipe, or check that the run to be resumed has the same.

        Raises:
            UserError: there is a run and ``resume`` is not set, or the reverse; the run has another recipe; or the
                folder cannot be made.
        """
        exists = self.exists()
        if exists and not resume:
            raise UserError(f"{self.path} already holds a run; add --resume to continue, or choose another --out.")
        if resume and not exists:
            raise UserError(f"{self.path} holds no run to resume; leave out --resume to start one.")
        if not exists:
            self._write_recipe(recipe)
        elif self.recipe().digest() != recipe.digest():
            raise UserError(f"{self.path} was started with another recipe: {difference(self.recipe(), recipe)}.")

    @contextmanager
    def begun(self, recipe: BaseRecipe, resume: bool) -> Iterator[None]:
        """Do as ``begin``, and remove what was written if the block raises a ``UserError`` before the first epoch.

        A recipe that cannot be trained thus leaves no run in the way of the corrected recipe.

        Raises:
            UserError: as for ``begin``, and what the block raises.
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

    def recipe(self) -> BaseRecipe:
        """Return the run's recipe.

        Raises:
            UserError: the folder holds no run.
        """
        if not self.exists():
            raise UserError(f"{self.path} is not a run: it holds no recipe.yaml; make one with 'clustnet train'.")
        return read_recipe(self.path / "recipe.yaml")

    def save_checkpoint(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Write the checkpoint of a finished epoch."""
        save_state(self.checkpoint(epoch), state)

    def last_epoch(self) -> int:
        """Return the last epoch with a checkpoint, 0 for none."""
        return max(self.epochs(), default=0)

    def epochs(self) -> list[int]:
        """Return the epochs that have a checkpoint, in order."""
        return sorted(int(path.stem.removeprefix("epoch_")) for path in self.path.glob(CHECKPOINTS))

    def load_checkpoint(self, epoch: int) -> dict[str, Any]:
        """Return the checkpoint of an epoch, tensors and plain values only.

        Raises:
            UserError: the checkpoint is missing or damaged.
        """
        path = self.checkpoint(epoch)
        if not path.is_file():
            raise UserError(f"{self.path} has no finished epoch yet; train it first.")
        return load_state(path)

    def spec(self, epoch: int | None = None) -> NetworkSpec:
        """Return the spec of the network of an epoch, by default the last.

        Raises:
            UserError: as for ``load_network``.
        """
        return _spec_in(self.load_checkpoint(self.last_epoch() if epoch is None else epoch), self.path)

    def load_network(self, epoch: int | None = None) -> GatedExperts:
        """Return the network of an epoch, by default the last, in evaluation mode on the CPU.

        Raises:
            UserError: there is no such checkpoint, it is damaged, or an earlier version wrote it.
        """
        state = self.load_checkpoint(self.last_epoch() if epoch is None else epoch)
        network = build_network(_spec_in(state, self.path))
        network.load_state_dict(state["model"])
        return network.eval()

    def write_scores(self, rows: Sequence[Row]) -> None:
        """Write the scores of all epochs."""
        write_table(self.path / "scores.csv", rows)

    def read_scores(self, up_to: int) -> list[Row]:
        """Return the scores of the epochs up to ``up_to``; none before the first.

        Raises:
            UserError: the file is missing.
        """
        if up_to == 0:
            return []
        path = self.path / "scores.csv"
        if not path.is_file():
            raise UserError(f"{path} is missing, so the run cannot go on; restore it or begin another run.")
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{key: _number(text) for key, text in row.items() if text} for row in csv.DictReader(file)]
        return [row for row in rows if row["epoch"] <= up_to]

    def write_images(self, epoch: int, images: LabelledImages, routed: Routed) -> None:
        """Write the table of a split's images: labels, the log-probability of each coarse label and the routing."""
        logarithms = np.log(np.clip(routed.coarse_probability, MIN_PROBABILITY, 1))
        columns = [f"log_probability_{k}" for k in range(logarithms.shape[1])]
        columns += [f"routing_{e}" for e in range(routed.routing.shape[1])]
        header = ["class", "coarse", *columns]
        labels = zip(images.fine.tolist(), images.coarse.tolist(), np.hstack([logarithms, routed.routing]), strict=True)
        # Row by row, as there may be a million.
        rows = ([_known(fine), _known(coarse), *(f"{value:.6g}" for value in row)] for fine, coarse, row in labels)
        if images.files is not None:
            header = ["file", *header]
            rows = ([shown(file), *row] for file, row in zip(images.files, rows, strict=True))
        path = self.path / "images" / f"epoch_{epoch:03}_{images.split}.csv"
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(chain([header], rows))

    def _write_recipe(self, recipe: BaseRecipe) -> None:
        try:
            write_text(self.path / "recipe.yaml", recipe.to_yaml())
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror}); choose another --out.") from None

    def checkpoint(self, epoch: int) -> Path:
        """Return the path of an epoch's checkpoint, whether it exists or not."""
        return self.path / "checkpoints" / f"epoch_{epoch:03}.pt"


def _known(label: int) -> int | str:
    """Return a label as a cell of a table, which is empty if the label is not known."""
    return "" if label == UNKNOWN else label


def _spec_in(state: Mapping[str, Any], run: Path) -> NetworkSpec:
    """Return the spec of a checkpoint's network."""
    try:
        return read_spec(state["network"])
    except (KeyError, ValueError):
        raise UserError(f"{run} was trained by another version, whose networks are not read; train it again.") from None


def _remove(entries: Iterable[Path], folders: Iterable[Path]) -> None:
    """Remove files and folders, then those of ``folders`` that are empty, innermost first."""
    for entry in entries:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    # Another run may be in one of them by now.
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _number(text: str) -> Any:
    """Return a cell of a table, as a number if it is one."""
    try:
        return float(text) if not text.isdigit() else int(text)
    except ValueError:
        return text


def difference(old: BaseRecipe, new: BaseRecipe) -> str:
    """Return the first key in which two recipes differ, and its two values, in words."""
    before, after = flat(old.decisive()), flat(new.decisive())
    for key in before | after:
        if before.get(key) != after.get(key):
            name = ".".join(key)
            return f"{name} was {json.dumps(before.get(key))} and is now {json.dumps(after.get(key))}"
    moved = next(one for one, other in zip(before, after, strict=True) if one != other)
    return f"{'.'.join(moved[:-1])} lists its labels in another order"


def flat(tree: Mapping[str, Any], parents: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return the values of a tree by their paths."""
    found: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        found |= flat(value, (*parents, key)) if isinstance(value, dict) else {(*parents, key): value}
    return found
