"""The recipe of ``clustnet grow``. Nothing here needs torch."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from clustnet.errors import UserError
from clustnet.files import expanded
from training.recipe.messages import explain
from training.recipe.parts import BelowOne, Count, NotNegative, Part, Positive
from training.recipe.recipe import SEEDS, Augmentation, Side
from training.recipe.yaml_text import read_mapping, write_yaml

METHOD = "grow"
FilePath = Annotated[Path, AfterValidator(expanded)]
Mode = Literal["frozen", "lr_multipliers", "full", "replay", "lwf"]
# The keys that name files or folders, which are looked for beside a recipe.
PATHS = (("data", "path"), ("splits", "file"), ("begin",))


class Columns(Part):
    """The columns of a table of images; see ``training.discover.arguments.Columns``.

    Args:
        file: column with the path of each image, relative to the table.
        label: column with the labels from the highest level down, as in ``animal/canine/beagle``.
        split: column with ``train`` or ``test``; without it the splits are drawn.
        image: column with the bytes of an image file.
    """

    file: str = "file"
    label: str = "label"
    split: str = "split"
    image: str = "image"


class GrowData(Part):
    """Where the images are, and how they are prepared.

    Args:
        path: a folder of nested class folders, or one with ``train/`` and ``test/`` that hold these; a CSV or Parquet
            file; or a run of ``clustnet discover``, whose subtypes are the classes below the coarse labels.
        columns: columns of a table.
        size: height and width of the prepared images; an encoder has its own default.
        colour: whether images keep their colour.
        preparation: ``fit`` keeps the aspect of an image, ``resize`` does not.
        aspect: whether ``fit`` crops or pads an image.
    """

    path: Annotated[FilePath, Field(examples=["photos"])]
    columns: Columns = Columns()
    size: tuple[Side, Side] | None = None
    colour: bool = True
    preparation: Literal["fit", "resize"] = "fit"
    aspect: Literal["crop", "pad"] = "crop"


class Splits(Part):
    """Which images are for training, for validation and for the final scores.

    Args:
        file: a ``splits.csv`` of another run; the splits of images that it does not list are drawn.
        redraw: draw again which images of the file are for training and which for validation; its test images stay.
        validation: share of each class, not counting its test images, that learning curves are measured on.
        test: share of each class that the final scores are measured on; no effect where the data have a test split.
    """

    file: FilePath | None = None
    redraw: bool = False
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2


class Network(Part):
    """The network.

    Args:
        encoder: frozen encoder that replaces the stem, such as ``lite0``; None trains a stem.
        width: channels of the stem, which each level doubles; with an encoder, width of each level's hidden layer.
    """

    encoder: str | None = None
    width: Annotated[int, Field(ge=1, le=1024)] = 16


class StepRecipe(Part):
    """A step of a run, which learns one node.

    Args:
        node: name of the node, as in ``animal/canine``; ``all`` is the root.
        epochs: number of epochs, in place of ``optimisation.epochs``.
        positive: for a node with two children, the child that sensitivity refers to; by default the first that has
            finer labels, or else the first.
    """

    node: str
    epochs: Count | None = None
    positive: str | None = None


class Forgetting(Part):
    """How the modes counter forgetting.

    Args:
        multipliers: for ``lr_multipliers``: factors of the step sizes of the new module, its parent, and so on; the
            last one applies to everything above.
        kept: images of each child of earlier nodes that ``replay`` keeps.
        weight: weight that ``replay`` and ``lwf`` give the loss on earlier nodes.
        temperature: temperature of the distributions that ``lwf`` compares.
    """

    multipliers: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0, 0.65, 0.4)
    kept: Count = 50
    weight: Positive = 1.0
    temperature: Positive = 2.0


class GrowOptimisation(Part):
    """How each node is learnt: stochastic gradient descent with Nesterov momentum.

    Args:
        epochs: number of epochs.
        epoch_images: images drawn in each epoch, at most as many as the node has, which is the default.
        batch_size: images per step.
        learning_rate: the largest step size; it rises over the first fifth and falls to 0.
        momentum: momentum of the steps.
        weight_decay: decay of the weights.
    """

    epochs: Count = 8
    epoch_images: Count | None = None
    batch_size: Annotated[int, Field(ge=2)] = 128
    learning_rate: Positive = 0.1
    momentum: BelowOne = 0.9
    weight_decay: NotNegative = 5e-4


class GrowRecipe(Part):
    """Everything that decides a run of ``clustnet grow``.

    Args:
        seed: decides all random numbers.
        data: the images and their labels.
        splits: which images are for training, validation and testing.
        network: the network.
        begin: another run, whose network and splits this one starts from.
        steps: the nodes in the order in which they are learnt; by default all, from the root down.
        mode: what learning a node does to the modules above it.
        forgetting: the settings of the modes.
        optimisation: how a node is learnt.
        augmentation: random views; only without an encoder.
        baselines: whether each node is also learnt from scratch, and all nodes at once, for comparison.
    """

    method: Literal["grow"] = "grow"
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = 0
    data: GrowData
    splits: Splits = Splits()
    network: Network = Network()
    begin: FilePath | None = None
    steps: tuple[StepRecipe, ...] | None = None
    mode: Mode = "frozen"
    forgetting: Forgetting = Forgetting()
    optimisation: GrowOptimisation = GrowOptimisation()
    augmentation: Augmentation = Augmentation()
    baselines: bool = False

    def to_yaml(self) -> str:
        """Return the recipe with every key, as YAML that ``read_grow_recipe`` reads back."""
        return write_yaml(self.model_dump(mode="json"))

    def digest(self) -> str:
        """Return the SHA-256 of the resolved recipe."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json")).encode()).hexdigest()


def read_grow_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> GrowRecipe:
    """Return the recipe in a file, with ``overrides`` such as ``{"optimisation.epochs": 3}`` applied.

    Files and folders that the recipe names are looked for beside it, then in the working directory.

    Raises:
        UserError: the file is missing or not a YAML mapping, or a key, type or value is wrong.
    """
    content = read_mapping(path, "configs/grow/tiny_imagenet.yaml", "configs/grow/")
    _look_beside(content, path.parent)
    for key, value in (overrides or {}).items():
        _lay_over(content, key, value)
    if content.get("method", METHOD) != METHOD:
        raise UserError(f"{path}: method is {content['method']!r}; train it with 'clustnet train {path}'.")
    try:
        recipe = GrowRecipe.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, GrowRecipe, METHOD)}") from None
    _check_used(recipe, path)
    return recipe


def _look_beside(content: dict[str, Any], folder: Path) -> None:
    """Replace each relative path in a recipe by that of the file beside the recipe, if there is one."""
    for *parents, key in PATHS:
        part = content
        for parent in parents:
            part = part.get(parent) or {}
        named = part.get(key) if isinstance(part, dict) else None
        if isinstance(named, str) and not Path(named).is_absolute() and (folder / named).exists():
            part[key] = str(folder / named)


def _lay_over(content: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        content[parent] = content.get(parent) or {}
        content = content[parent]
        if not isinstance(content, dict):
            raise UserError(f"--{key} cannot be set, because {parent} is a single value, not a group of keys.")
    content[last] = value


def _check_used(recipe: GrowRecipe, path: Path) -> None:
    """Refuse keys that are set but have no effect with the other choices."""
    used = {
        "forgetting.multipliers": recipe.mode == "lr_multipliers",
        "forgetting.kept": recipe.mode == "replay",
        "forgetting.weight": recipe.mode in ("replay", "lwf"),
        "forgetting.temperature": recipe.mode == "lwf",
    }
    for key, use in used.items():
        name = key.partition(".")[2]
        if not use and getattr(recipe.forgetting, name) != getattr(Forgetting(), name):
            raise UserError(f"{path}: {key} is set, but has no effect with mode {recipe.mode}; leave it out.")
    if recipe.splits.redraw and recipe.splits.file is None and recipe.begin is None:
        raise UserError(f"{path}: splits.redraw is set, but there is no splits.file to redraw; leave it out.")
    if recipe.network.encoder and recipe.augmentation != Augmentation():
        raise UserError(f"{path}: augmentation is set, but has no effect with an encoder; leave it out.")
