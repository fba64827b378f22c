"""What the recipes of all methods share: data, random views, reference images, and how often to train.

A method adds its own parts in ``training/methods/NAME/config.py``. Nothing here needs torch.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, Field, PlainValidator

from clustnet.bundles.groups import ALL, CoarseGrouping
from clustnet.bundles.preparation import MAX_SIDE_PIXELS
from clustnet.datasets import DATA_SETS, GROUPINGS
from clustnet.datasets.folder import REFERENCE, folder_names
from clustnet.errors import UserError
from clustnet.files import expanded
from training.recipe.messages import nearest, shown_value
from training.recipe.parts import BelowOne, Count, Epochs, NotNegative, Part, Positive, Share
from training.recipe.yaml_text import write_yaml

FOLDER = "folder"
GIVEN: Final = "given"
# Keys that say what a run keeps and shows, without an effect on what it trains.
KEEPING = ("keep", "vis", "tracking")
# Keys for the preparation of images, which only those of a folder need.
PREPARATION_KEYS = ("data.size", "data.colour", "data.preparation", "data.aspect")

# As many as numpy and scikit-learn take.
SEEDS = 2**32
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PIXELS)]
CoarseChoice = Literal["given"] | dict[str, list[int | str]] | None


def _data_set(name: str) -> str:
    """Return the name of a data set, or raise where there is none of that name."""
    if name not in DATA_SETS:
        raise ValueError(f"it is {name!r}, but must be one of {', '.join(DATA_SETS)}{nearest(name, list(DATA_SETS))}")
    return name


def _coarse(value: Any) -> CoarseChoice:
    """Return which coarse labels a recipe names."""
    if value is None:
        return None
    if value == GIVEN:
        return GIVEN
    if not isinstance(value, Mapping):
        raise ValueError(f"it is {value!r}, but must be given, null or a mapping, as in {{low: [0, 1], high: [2, 3]}}.")
    for label, group in value.items():
        if not isinstance(label, str):
            raise ValueError(f"the label {shown_value(label)} is no text; put it in quotes.")
        if not isinstance(group, list | tuple) or not all(type(named) in (int, str) for named in group):
            raise ValueError(f"{label!r} is {group!r}, but must be a list of classes, by name or number.")
    return {label: list(group) for label, group in value.items()}


class Data(Part):
    """Which images to use, and which coarse labels they have.

    Args:
        name: the data set.
        path: its folder or file; the embedded copy by default where there is one.
        size: height and width that the images of a ``folder`` are brought to.
        colour: whether a ``folder`` keeps colour; ``auto`` keeps it if any training image has one.
        preparation: how a ``folder`` is prepared: ``fit`` keeps the aspect of an image, ``resize`` does not.
        aspect: whether ``fit`` crops or pads an image.
        coarse: ``given`` takes the coarse labels that come with the data: the sub-folders of a folder, 0-4 and 5-9 of
            MNIST. ``{label: [fine class, ...]}`` groups fine classes, by name or number. null gives all images one
            coarse label.
        train_images: number of training images to use, the first ones.
        train_counts: number of these to use of each fine class, the first ones, in the order of the classes; for
            measuring what unbalanced classes cost.
        test_images: number of test images to use, evenly spaced over the test split.
        validation_images: number of training images, the last ones, that are not trained on; the label-free figures
            are measured on them instead of on training images, for comparing hyper-parameters.
    """

    name: Annotated[str, AfterValidator(_data_set)] = "mnist"
    path: Annotated[Path, AfterValidator(expanded)] | None = None
    size: tuple[Side, Side] = (160, 160)
    colour: Literal["auto", True, False] = "auto"
    preparation: Literal["fit", "resize"] = "fit"
    aspect: Literal["crop", "pad"] = "crop"
    coarse: Annotated[CoarseChoice, PlainValidator(_coarse)] = GIVEN
    train_images: Count | None = None
    train_counts: tuple[Count, ...] | None = None
    test_images: Count | None = None
    validation_images: Annotated[int, Field(ge=0)] = 0

    def grouping(self, classes: Sequence[str]) -> CoarseGrouping | None:
        """Return which fine classes have which coarse label; None where the coarse labels come with the images.

        Args:
            classes: the names of the data set's fine classes.

        Raises:
            UserError: the mapping does not fit the classes, or the data set has no coarse labels of its own.
        """
        if self.coarse is None:
            return CoarseGrouping.whole(len(classes))
        if isinstance(self.coarse, str):
            return self._given_grouping()
        try:
            return CoarseGrouping.from_mapping(self.coarse, classes)
        except UserError as error:
            raise UserError(f"data.{error}") from None

    def _given_grouping(self) -> CoarseGrouping | None:
        if self.name != FOLDER and self.name not in GROUPINGS:
            raise UserError(
                f"data.coarse is given, but {self.name} comes without coarse labels; group its classes, as in "
                "{low: [0, 1], high: [2, 3]}, by name or number, or set it to null for one coarse label."
            )
        return GROUPINGS.get(self.name)

    def known_labels(self) -> tuple[str, ...] | None:
        """Return the names of the coarse labels as far as they are known without loading an image.

        Raises:
            UserError: the data set has none of its own, or the folder has another structure.
        """
        if self.coarse is None:
            return (ALL,)
        if not isinstance(self.coarse, str):
            return tuple(self.coarse)
        grouping = self._given_grouping()
        if grouping is not None:
            return grouping.labels
        return folder_names(self.path).coarse_labels if self.path and self.path.is_dir() else None

    def class_counts(self, labels: Sequence[str]) -> list[int]:
        """Return how many fine classes each coarse label groups; 1 for each where that is not known."""
        if isinstance(self.coarse, dict):
            return [len(group) for group in self.coarse.values()]
        if self.coarse is None or self.name not in GROUPINGS:
            return [1] * len(labels)
        return [len(group) for group in GROUPINGS[self.name].groups]


class Augmentation(Part):
    """How far a random view may differ from its image; all 0 leave images as they are.

    Args:
        rotation: degrees either way.
        scale: largest logarithm of the change of width and of height.
        shear: largest shear.
        shift: largest shift, in half sides.
        elastic: standard deviation of the bend, in half sides.
        crop: the largest share of the image's area that a random crop leaves out; the crop is resized to the image's
            size.
        flip: probability that a view is mirrored left to right.
        brightness: largest relative change of brightness, either way.
        contrast: largest relative change of contrast, either way.
        saturation: largest relative change of saturation, either way; grey images have none.
        hue: largest turn of the hue, either way, in turns; grey images have none.
        blur: largest standard deviation of a Gaussian blur, in pixels.
    """

    rotation: NotNegative = 0.0
    scale: NotNegative = 0.0
    shear: NotNegative = 0.0
    shift: NotNegative = 0.0
    elastic: NotNegative = 0.0
    crop: BelowOne = 0.0
    flip: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    blur: NotNegative = 0.0


class Optimisation(Part):
    """How networks are optimised, whatever the method.

    Args:
        epochs: passes over the training images.
        learning_rate: step size.
        schedule: ``cosine`` lowers the step size to 0 over the epochs.
        precision: ``bfloat16`` computes the networks' outputs for the loss in it, faster if the processor supports it.
    """

    epochs: Count = 10
    learning_rate: Positive = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["float32", "bfloat16"] = "float32"


class Pretraining(Part):
    """Pre-training of the encoder as half of an autoencoder; 0 epochs leave it out."""

    epochs: Epochs = 0
    learning_rate: Positive = 1e-3


class Reference(Part):
    """The labelled training images that fit the class map at export."""

    per_class: Count = 10
    seed: int = 0


class EncoderChoice(NamedTuple):
    """The encoder whose embeddings a method reads instead of images.

    Args:
        name: a name as for ``clustnet.encoders.open_encoder``.
        size: height and width of the images; None for what the encoder reads.
        views: how many random views of each training image are embedded, too.
    """

    name: str
    size: tuple[int, int] | None
    views: int


class BaseRecipe(Part):
    """The part of a recipe that all methods share.

    Args:
        method: how to train.
        seed: decides all random numbers.
        restarts: how many times to train, with other random numbers each; the best by the label-free score is kept.
        data: the images and their coarse labels.
        augmentation: the random views that methods train on and that the label-free figures are measured by.
        reference: the images that fit the class map at export.
        tracking: where scores, pictures and histograms are shown, see ``training.runs.tracking``; training is the same.
        keep: keep the checkpoint of every n-th epoch, besides the last and the best; 0 keeps only these two.
        vis: draw every n-th epoch and the last one into ``vis/``; 0 draws nothing. By default about ten epochs are
            drawn, evenly spaced.
    """

    # A method names itself as a Literal, which tells the recipes apart.
    method: str
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = 0
    restarts: Annotated[int, Field(ge=1, le=100)] = 1
    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    reference: Reference = Reference()
    tracking: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)
    keep: Epochs = 0
    vis: Epochs | None = None

    @property
    def hard(self) -> bool:
        """Whether one expert alone decides on an image, instead of all, weighted by their routing."""
        return False

    @property
    def uses_manifold(self) -> bool:
        """Whether UMAP is needed; it is looked for before the training."""
        return False

    @property
    def encoder(self) -> EncoderChoice | None:
        """The encoder whose embeddings the method reads; None where it reads images."""
        return None

    @property
    def stage_ends(self) -> tuple[int, ...]:
        """The epochs after which another run may begin, so that their checkpoints are kept."""
        return ()

    def clusters(self, labels: Sequence[str], images: Sequence[int] = ()) -> tuple[int, ...]:
        """Return how many clusters each coarse label should have.

        Args:
            labels: the names of the K coarse labels.
            images: how many training images each of them has; empty while that is not known.
        """
        raise NotImplementedError

    def check(self, labels: Sequence[str] | None) -> None:
        """Refuse what the method cannot train.

        Args:
            labels: the names of the K coarse labels; None while they are not known.

        Raises:
            UserError: says which key is wrong.
        """

    def unused(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that have no effect with other choices, each with that choice."""
        if self.data.name != FOLDER:
            yield from ((key, f"the data set {self.data.name}") for key in PREPARATION_KEYS)
        elif self.data.preparation != "fit":
            yield "data.aspect", f"data.preparation {self.data.preparation}"
        if self.data.name == FOLDER and self.data.path and (self.data.path / REFERENCE).is_dir():
            yield from ((f"reference.{key}", f"a folder that has {REFERENCE}/") for key in Reference.model_fields)

    def to_yaml(self) -> str:
        """Return the recipe with every key, as YAML that ``read_recipe`` reads back."""
        return write_yaml(self.model_dump(mode="json"))

    def decisive(self) -> dict[str, Any]:
        """Return the keys that decide what is trained, as plain values."""
        return self.model_dump(mode="json", exclude=set(KEEPING))

    def digest(self) -> str:
        """Return the SHA-256 of what decides the training."""
        # Unsorted, because the order of the coarse labels counts.
        content = json.dumps(self.decisive())
        return hashlib.sha256(content.encode()).hexdigest()
