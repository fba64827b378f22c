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
    """The names of the columns in a table of images.

    Args:
        file: column with the path of each image, relative to the table.
        label: column with the coarse labels.
        split: column with ``train`` or ``test``; without it, all images are for training.
        image: column with the bytes of each image file, or with ``{bytes, path}`` as Hugging Face writes it.
        embedding: column with a list of numbers per image.
    """

    file: str = "file"
    label: str = "label"
    split: str = "split"
    image: str = "image"
    embedding: str = "embedding"


class Arguments(Part):
    """Everything that determines what is found.

    Args:
        images: the folder, table or array.
        labels: file with the labels of an array of embeddings.
        columns: names of the columns of a table.
        subtypes: number of subtypes of each coarse label, where ``""`` stands for all that are not named; empty for
            ``auto``.
        encoder: ``auto``, ``none``, or the names of encoders.
        seed: seeds all random numbers.
        epochs: training epochs; None for the default.
        resume: the run whose review is trained on; None to start from clusters.
        bundle: the bundle whose model says which images are new to that run; None if no images are added.
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
            UserError: an argument differs (the message names the first one), or the folder holds something else.
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
    """Return the number of subtypes of each coarse label: ``""`` stands for every label, and ``auto`` gives none.

    Args:
        text: ``auto``, ``4``, or ``ok=3,defect=6``.

    Raises:
        UserError: the text has another form.
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
    """Raise an error if a number of subtypes is given for a coarse label that does not exist."""
    for label in subtypes:
        if label and label not in labels:
            raise UserError(f"--subtypes has {label!r}, but the coarse labels are {', '.join(labels)}; use these.")


def check_encoders(names: Sequence[str]) -> None:
    """Raise an error if an encoder is missing, or if ``auto`` or ``none`` is combined with others."""
    for name in names:
        if name in (AUTO, NONE) and len(names) > 1:
            raise UserError(
                f"The encoder {name} must be used alone; only other encoders can be combined, as in lite0,edges."
            )
        if name not in (AUTO, NONE, *OWN):
            find_encoder(name)
