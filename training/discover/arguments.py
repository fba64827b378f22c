"""The arguments of ``clustnet discover``, kept in the run so that a second call continues with the same ones."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from clustnet.encoders import find_encoder
from clustnet.errors import UserError
from clustnet.files import write_text
from training.methods.clustnet.config import OWN_REPRESENTATIONS
from training.recipe.parts import Count, Part

ARGUMENTS = "discover.json"
AUTO, NONE = "auto", "none"
# Representations that need no encoder.
OWN = OWN_REPRESENTATIONS
PIXELS, EDGES, PATCHES = OWN
NUMBER = re.compile("[1-9][0-9]{0,3}")


class Columns(Part):
    """The columns of a table of images.

    Args:
        file: path of the image, relative to the table.
        label: the coarse label.
        split: ``train`` or ``test``; without it all images are for training.
        image: an image file's bytes, also as Hugging Face writes them, ``{bytes, path}``.
        embedding: a list of numbers.
    """

    file: str = "file"
    label: str = "label"
    split: str = "split"
    image: str = "image"
    embedding: str = "embedding"


class Arguments(Part):
    """Everything that determines what is found.

    Args:
        images: folder, table or array.
        labels: the file of the labels of an array of embeddings.
        columns: columns of a table.
        subtypes: ``auto``, or how many each coarse label has; ``""`` stands for all that are not named.
        encoder: ``auto``, ``none``, or the names of encoders.
        seed: decides all random numbers.
        epochs: passes over the images in training; None for the default.
        resume: the run whose review is learnt; None to start from clusters.
        bundle: the bundle whose model says which images are new to that run; None where none are added.
    """

    images: Path
    labels: Path | None = None
    columns: Columns = Columns()
    subtypes: dict[str, Count] = Field(default_factory=dict)
    encoder: Annotated[tuple[str, ...], Field(min_length=1)] = (AUTO,)
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    epochs: Count | None = None
    resume: Path | None = None
    bundle: Path | None = None

    def keep(self, run: Path) -> None:
        """Write the arguments into a run, or check that the run was started with the same ones.

        Raises:
            UserError: names the first argument that differs, or the folder is something else.
        """
        path = run / ARGUMENTS
        if not path.is_file():
            if run.is_dir() and any(run.iterdir()):
                raise UserError(f"{run} is not empty and was not started by 'clustnet discover'; choose another --out.")
            write_text(path, self.model_dump_json(indent=1) + "\n")
            return
        before = read_arguments(run)
        for name in type(self).model_fields:
            old, new = (part.model_dump(mode="json")[name] for part in (before, self))
            if old != new:
                raise UserError(f"{run} was started with {name} {old}, but now it is {new}; choose another --out.")


def read_arguments(run: Path) -> Arguments:
    """Return the arguments that a run was started with."""
    return Arguments.model_validate_json((run / ARGUMENTS).read_text(encoding="utf-8"))


def parse_subtypes(text: str) -> dict[str, int]:
    """Return how many subtypes each coarse label should have; none for ``auto``, ``""`` stands for every label.

    Args:
        text: ``auto``, ``4``, or ``ok=3,defect=6``.

    Raises:
        UserError: another form.
    """
    if text == AUTO:
        return {}
    pairs = [("", text)] if NUMBER.fullmatch(text) else [_pair(word) for word in text.split(",")]
    counts = {label: int(count) for label, count in pairs if NUMBER.fullmatch(count)}
    if len(counts) < len(pairs):
        raise UserError(f"--subtypes is {text!r}, but must be auto, a number, or LABEL=NUMBER,LABEL=NUMBER.")
    return counts


def _pair(word: str) -> tuple[str, str]:
    label, _, count = word.rpartition("=")
    return label, count if label else ""


def check_subtypes(subtypes: dict[str, int], labels: Sequence[str]) -> None:
    """Raise where a number of subtypes names no coarse label."""
    for label in subtypes:
        if label and label not in labels:
            raise UserError(f"--subtypes has {label!r}, but the coarse labels are {', '.join(labels)}; use these.")


def check_encoders(names: Sequence[str]) -> None:
    """Raise where an encoder is missing, or where ``auto`` or ``none`` is combined with others."""
    for name in names:
        if name in (AUTO, NONE) and len(names) > 1:
            raise UserError(
                f"The encoder {name} must be used alone; only other encoders can be combined, as in lite0,edges."
            )
        if name not in (AUTO, NONE, *OWN):
            find_encoder(name)
