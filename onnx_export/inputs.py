"""What a run's gate and experts read: images, or the embeddings of an encoder with the image files behind them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import DIGIT_SHAPE, EncoderSource, InputSpec
from clustnet.bundles.preparation import prepare
from clustnet.datasets import LabelledImages
from clustnet.datasets.folder import read_file
from clustnet.encoders import Embeds, open_encoder
from clustnet.errors import UserError
from training.data.data import load_reference, load_split
from training.data.embedded import EmbeddedFiles
from training.models.spec import EmbeddingMixtureSpec
from training.recipe.recipe import FOLDER, BaseRecipe, Data, EncoderChoice
from training.runs.run_folder import RunFolder

# Images in memory at once, where they are read from files again.
BLOCK_IMAGES = 256


@dataclass(frozen=True)
class Inputs:
    """The data of a run as its network reads them.

    Args:
        train: the training split, whose ``images`` are embeddings float32 [N, D] where there is an encoder.
        test: the test split, likewise, if there is one.
        named: the images that may serve as reference images, likewise, if there are any.
        input: what the bundle's graphs read.
        encoder: the encoder, on the CPU; None without one.
        path: the folder of the data.
    """

    train: LabelledImages
    test: LabelledImages | None
    named: LabelledImages | None
    input: InputSpec
    encoder: Embeds | None = None
    path: Path | None = None

    def pixels(self, labelled: LabelledImages) -> Iterator[NDArray[np.uint8]]:
        """Yield the images behind a split or a part of it, uint8 [M, *input.shape], some at a time.

        Raises:
            UserError: a file cannot be read any more.
        """
        if self.encoder is None or self.path is None or labelled.files is None:
            yield labelled.images
            return
        yield from stacked(
            read_file(self.path / file, lambda content: prepare(content, self.input)) for file in labelled.files
        )


def stacked(images: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Yield images in arrays of at most ``BLOCK_IMAGES``, uint8 [M, ...]."""
    while block := list(islice(images, BLOCK_IMAGES)):
        yield np.stack(block)


def source_of(encoder: Embeds | None) -> EncoderSource | None:
    """Return what the manifest says of an encoder, None without one."""
    if encoder is None:
        return None
    spec = encoder.spec
    return EncoderSource(name=spec.name, sha256=spec.sha256, licence=spec.licence, trained_on=spec.trained_on)


def load_inputs(recipe: BaseRecipe, folder: RunFolder) -> Inputs:
    """Return the data of a run; embeddings that are missing are made again.

    Raises:
        UserError: data or the encoder cannot be read, or the run was trained with another encoder of this name.
    """
    if recipe.encoder is not None:
        return _load_embedded(recipe, recipe.encoder, folder)
    train, test = load_split(recipe.data, "train"), load_split(recipe.data, "test")
    return Inputs(train, test, load_reference(recipe.data, train), _input_spec(recipe.data, train))


def _load_embedded(recipe: BaseRecipe, choice: EncoderChoice, folder: RunFolder) -> Inputs:
    """Return embeddings and their encoder."""
    embedded = EmbeddedFiles.of(choice.name, choice.size, folder.embeddings)
    spec, found = folder.spec(), embedded.encoder.spec
    if isinstance(spec, EmbeddingMixtureSpec) and spec.sha256 not in (None, found.sha256):
        raise UserError(
            f"{folder.path} was trained with a different encoder called {choice.name!r}; restore that one, or train "
            "again."
        )
    train = load_split(recipe.data, "train", embedded.images)
    test = load_split(recipe.data, "test", embedded.images)
    named = load_reference(recipe.data, train, embedded.images)
    # Graphs are compared on the CPU.
    encoder = open_encoder(choice.name, device="cpu", threads=0, size=choice.size)
    return Inputs(train, test, named, encoder.input, encoder, recipe.data.path)


def _input_spec(data: Data, train: LabelledImages) -> InputSpec:
    """Return what the graphs read; an image file is prepared as those of the training data were."""
    if data.name == "mnist":
        return InputSpec(shape=DIGIT_SHAPE, meaning="0 = paper, 255 = ink", preparation="mnist")
    meaning = "grey, 0 to 255" if train.images.ndim == 3 else "RGB, 0 to 255"
    prepared = (
        {"preparation": data.preparation, "aspect": data.aspect} if data.name == FOLDER else {"preparation": "fit"}
    )
    return InputSpec.model_validate({"shape": train.images.shape[1:], "meaning": meaning, **prepared})
