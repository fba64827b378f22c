"""Recipes: a method, its data and its hyper-parameters, read from YAML and checked key by key.

Nothing here needs torch, so that ``--help`` and ``--print_config`` answer at once.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from clustnet.bundles.groups import CoarseGrouping
from clustnet.bundles.preparation import MAX_SIDE_PIXELS
from clustnet.datasets import classes_of
from clustnet.errors import UserError
from training.models.architecture import Architecture, parse_architecture, read_architecture

Count = Annotated[int, Field(ge=1)]
Epochs = Annotated[int, Field(ge=0)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PIXELS)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]

AUTO = 0  # experts whose number is estimated
KINDS = {  # what a value of the wrong kind must be, by the start of pydantic's name for the fault
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "a list, as in [8, 16]",
    "list": "a list, as in [0, 1]",
    "dict": "a mapping, as in {low: [0, 1], high: [2, 3]}",
    "model": "a group of keys",
}


class Part(BaseModel):
    """Base of the recipe's parts: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(Part):
    """Which images, and which fine classes hide behind each of the two coarse labels, if there are any.

    Args:
        name: the data set.
        path: its folder or file; the embedded copy by default where there is one.
        size: of a ``folder``, the height and width that its images are resized to; they are made grey.
        coarse: ``{label: [fine class, ...]}``, two groups, the second is the positive one; null for no coarse labels.
        train_images: use only the first so many training images.
        test_images: use only the first so many test images.
        validation_images: train without the last so many training images and measure the label-free figures on
            them instead of on training images; to compare hyper-parameters.
    """

    name: Literal["mnist", "cifar10", "notmnist", "coil20", "folder"] = "mnist"
    path: Path | None = None
    size: tuple[Side, Side] = (160, 160)
    coarse: dict[str, list[int]] | None = {"0-4": [0, 1, 2, 3, 4], "5-9": [5, 6, 7, 8, 9]}
    train_images: Count | None = None
    test_images: Count | None = None
    validation_images: Annotated[int, Field(ge=0)] = 0

    def grouping(self) -> CoarseGrouping:
        """Return the coarse grouping over the data set's fine classes.

        Raises:
            UserError: it is none, or the folder that is to tell the classes does not.
        """
        classes = len(classes_of(self.name, self.path))
        if self.coarse is None:
            return CoarseGrouping.whole(classes)
        return CoarseGrouping.from_mapping(self.coarse, classes)


def _architecture(value: Any) -> Any:
    """Read an architecture that is named, ``FILE:ENTRY``, so that a resolved recipe holds all of it."""
    if isinstance(value, str):
        return read_architecture(value)
    return value if value is None or isinstance(value, Architecture) else parse_architecture(value, "it")


def _experts(value: Any, number: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, str) and value != "auto":
        raise ValueError(f"it is {value!r}, but must be a whole number or auto.")
    return AUTO if value == "auto" else number(value)


class Model(Part):
    """The gate and its experts.

    Args:
        architecture: of ``deep_clustering``, the autoencoder, written out or named as ``FILE:ENTRY``; it takes the
            place of all keys that follow but ``experts``.
        experts: number of experts, E; of ``deep_clustering``, of clusters, where ``auto`` (in Python ``AUTO``) has it
            estimated after the pre-training.
        expert: their capacity. ``linear``: one linear layer on the pixels; ``small_cnn``: two small
            convolutions; ``large_cnn``: enough to solve the task alone; ``shared``: a linear head on the
            gate's encoder.
        expert_channels: channels of ``small_cnn``'s two convolutions.
        channels: channels of the encoder's two convolutions.
        embedding: width of the encoder's output.
        batch_norm: whether the encoder's layers are batch-normalised.
    """

    architecture: Annotated[Architecture | None, BeforeValidator(_architecture)] = None
    experts: Annotated[
        int,
        Field(ge=1, le=1000),
        WrapValidator(_experts),
        PlainSerializer(lambda experts: experts if experts != AUTO else "auto"),
    ] = 5
    expert: Literal["linear", "small_cnn", "large_cnn", "shared"] = "linear"
    expert_channels: tuple[Count, Count] = (3, 6)
    channels: tuple[Count, Count] = (16, 32)
    embedding: Count = 64
    batch_norm: bool = False


class Partition(Part):
    """The initial partition, which the gate imitates before it is trained; 0 epochs leave it out.

    Args:
        epochs: each of as many images as the training set has, drawn from the parted ones.
        images: images of each coarse group that are parted.
        clusters: of each coarse group, at most E; E by default.
    """

    epochs: Epochs = 0
    images: Count = 8000
    clusters: tuple[Count, Count] | None = None


class Augmentation(Part):
    """How far a random view may differ from its image; all 0 leave images as they are.

    Args:
        rotation: degrees either way.
        scale: largest logarithm of the change of width and of height.
        shear: largest shear.
        shift: largest shift, in half sides.
        elastic: standard deviation of the bend, in half sides.
    """

    rotation: NotNegative = 0.0
    scale: NotNegative = 0.0
    shear: NotNegative = 0.0
    shift: NotNegative = 0.0
    elastic: NotNegative = 0.0


class Loss(Part):
    """Weights of optional terms, added to the negative log-likelihood; the first two are the original's.

    Args:
        routing_entropy: weight of each image's routing entropy; positive makes the gate decide.
        routing_diversity: weight of the entropy of a batch's mean routing; positive rewards diversity.
        mutual_information: weight of the mutual information, within each coarse group, between the experts
            of two random views of an image; positive rewards it.
    """

    routing_entropy: float = 0.0
    routing_diversity: float = 0.0
    mutual_information: float = 0.0


class Optimisation(Part):
    """How gate and experts are optimised.

    Args:
        epochs: passes over the training images.
        batch_size: images a step.
        optimizer: ``adam`` or ``sgd``.
        learning_rate: step size.
        momentum: of ``sgd``.
        batch_period: 0 steps gate and experts together; otherwise so many batches step the gate alone,
            then as many the experts, and so on.
        schedule: ``cosine`` lowers the step size to 0 over the epochs of partition and training.
        averaging: decay of the exponential moving average of the weights that is scored and exported; 0 takes
            the weights as they are.
        precision: ``bfloat16`` computes the losses' networks in it, faster where the processor can.
    """

    epochs: Count = 10
    batch_size: Count = 64
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Positive = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_period: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "cosine"] = "constant"
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"


class Pretraining(Part):
    """Autoencoder pre-training of the encoder; 0 epochs leave it out."""

    epochs: Epochs = 0
    learning_rate: Positive = 1e-3


class Clustering(Part):
    """How ``deep_clustering`` sharpens clusters in the embedding, jointly with reconstruction.

    Args:
        loss: ``kl``, between the soft assignment and its sharpened target (DEC), or ``kmeans``, the squared distance
            to the assigned centroid (DCN).
        weight: of that loss; the reconstruction error has 1.
        start: how the first clusters are found: by ``kmeans``, on a ``manifold``, k-means after UMAP, or along a
            ``graph`` of neighbours, graph degree linkage.
        space: where they are found: in the ``embedding``, or among the ``pixels`` themselves, which tell apart images
            that are few and alike in all but a turn.
        neighbours: of each image, by which ``manifold`` and ``graph`` go; fewer than images of a class.
        manifolds: how many of them vote on the clusters, each of a random sample of its own.
        starts: of k-means, of which the tightest is kept.
        imitation: so many of the first epochs keep the clusters of the start as their target.
        refresh: steps between two looks at all images, clean, which set the target anew.
        tolerance: training stops when a smaller share of the images has changed its cluster between two looks;
            0 never stops it.
        rebuild: what a random view is decoded to: the ``view`` itself, or the clean ``image``.
    """

    loss: Literal["kl", "kmeans"] = "kl"
    weight: Positive = 1.0
    start: Literal["kmeans", "manifold", "graph"] = "kmeans"
    space: Literal["embedding", "pixels"] = "embedding"
    neighbours: Annotated[int, Field(ge=2)] = 20
    manifolds: Count = 1
    starts: Count = 10
    imitation: Epochs = 0
    refresh: Count = 140
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rebuild: Literal["view", "image"] = "view"


class Reference(Part):
    """The labelled training images that fit the class map at export."""

    per_class: Count = 10
    seed: int = 0


class Recipe(Part):
    """Everything that decides a run.

    Args:
        method: how to train.
        seed: decides all random numbers.
        restarts: train so many times with other random numbers and keep the best by the label-free score.
        routing: ``soft`` combines the experts by the routing distribution, ``hard`` takes one an image.
    """

    method: Literal["clustnet", "deep_clustering"] = "clustnet"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    restarts: Annotated[int, Field(ge=1, le=100)] = 1
    routing: Literal["soft", "hard"] = "soft"
    data: Data = Data()
    model: Model = Model()
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    optimisation: Optimisation = Optimisation()
    partition: Partition = Partition()
    pretraining: Pretraining = Pretraining()
    clustering: Clustering = Clustering()
    reference: Reference = Reference()

    def clusters(self) -> tuple[int, ...]:
        """Return how many clusters each coarse group should have.

        By default as many as there are experts. The clusters of ``deep_clustering`` are the experts themselves; each
        group has its share of them, by the number of its classes. Until ``auto`` is estimated there is one.
        """
        if self.method == "clustnet":
            return self.partition.clusters or (self.model.experts, self.model.experts)
        if self.data.coarse is None:
            return (self.model.experts or 1,)
        sizes = [len(group) for group in self.data.grouping().groups]
        return tuple(self.model.experts * size // sum(sizes) for size in sizes)

    def with_experts(self, experts: int) -> "Recipe":
        """Return the recipe with another number of experts, as when ``auto`` has been estimated."""
        return self.model_copy(update={"model": self.model.model_copy(update={"experts": experts})})

    def to_yaml(self) -> str:
        """Return the recipe with every key, as YAML that ``read_recipe`` reads back."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, default_flow_style=None)
        return text

    def digest(self) -> str:
        """Return the SHA-256 of the resolved recipe."""
        content = json.dumps(self.model_dump(mode="json"))  # unsorted: the second coarse group is the positive one
        return hashlib.sha256(content.encode()).hexdigest()


EXAMPLE = "configs/architectures/mnist.json:0"
UNREAD = {  # keys that say nothing to a method; the encoder of deep_clustering and its batches are the architecture's
    "clustnet": ("model.architecture", "clustering"),
    "deep_clustering": (
        *("routing", "loss", "partition", "optimisation.averaging", "optimisation.batch_size"),
        *("optimisation.batch_period", "optimisation.momentum", "optimisation.optimizer"),
        *("model.expert", "model.expert_channels", "model.channels", "model.embedding", "model.batch_norm"),
    ),
}


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe and lay ``overrides``, ``{"optimisation.epochs": 3}``, over it.

    Raises:
        UserError: the file is missing or no YAML mapping, or a key, type or value is wrong.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), f"The recipe {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The recipe {path} cannot be read ({error}); name a YAML file such as those in configs/."
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"The recipe {path} must be a mapping of keys to values, as those in configs/ are.")
    for key, value in (overrides or {}).items():
        _lay_over(content, key, value)
    return validated(content, str(path))


def validated(content: Mapping[str, Any], source: str) -> Recipe:
    """Check a recipe's keys, types and values.

    Raises:
        UserError: names the first wrong key and the nearest valid one, or what the value must be.
    """
    try:
        recipe = Recipe.model_validate(content)
        _check_data(recipe.data)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(error)}") from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    _check_method(recipe, source)
    return recipe


def _check_data(data: Data) -> None:
    """Check the groups of classes, which a folder tells as soon as its path is given."""
    if data.name == "folder" and data.path is None:
        return
    classes_of(data.name, data.path)
    try:
        data.grouping()
    except UserError as error:
        raise UserError(f"data.{error}") from None


def _check_method(recipe: Recipe, source: str) -> None:
    """Refuse what the recipe's method cannot do, and keys that it does not read."""
    for key, whom in _unread(recipe):
        if _value(recipe, key) != _value(Recipe(), key):
            raise UserError(f"{source}: {key} says nothing to {whom}; leave it out.")
    clusters = recipe.clusters()
    if recipe.model.experts == AUTO:
        _check_auto(recipe, source)
    if recipe.method == "deep_clustering":
        if recipe.model.architecture is None:
            raise UserError(f"{source}: deep_clustering needs model.architecture; name one, such as {EXAMPLE}.")
        if recipe.model.experts != AUTO and (
            sum(clusters) != recipe.model.experts or min(clusters) < 1 or recipe.model.experts < 2
        ):
            raise UserError(
                f"{source}: model.experts is {recipe.model.experts}, but must be 2 clusters or more, shared out among "
                "the coarse groups evenly, by the number of their classes."
            )
    elif recipe.data.coarse is None:
        raise UserError(f"{source}: data.coarse is null, but clustnet learns from coarse labels; name two groups.")
    elif max(clusters) > recipe.model.experts:
        raise UserError(
            f"{source}: partition.clusters is {list(clusters)}, but there are only "
            f"{recipe.model.experts} experts; set model.experts to the larger."
        )


def _check_auto(recipe: Recipe, source: str) -> None:
    """Refuse ``auto`` where the number of clusters cannot be estimated."""
    reasons = {
        "the method deep_clustering": recipe.method != "deep_clustering",
        "data without coarse labels (data.coarse null)": recipe.data.coarse is not None,
        "one restart, as the label-free scores of different numbers of clusters cannot be compared": recipe.restarts
        > 1,
    }
    for reason, broken in reasons.items():
        if broken:
            raise UserError(f"{source}: model.experts is auto, but that goes with {reason} alone; set a number.")


def _unread(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the keys that a recipe's method or data set does not read, and to whom they say nothing."""
    yield from ((key, f"the method {recipe.method}") for key in UNREAD[recipe.method])
    if recipe.data.name == "folder":
        yield from (
            (key, "a folder, whose reference/ is taken whole") for key in ("reference.per_class", "reference.seed")
        )
    else:
        yield "data.size", f"the data set {recipe.data.name}"


def _value(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for part in key.split("."):
        value = getattr(value, part)
    return value


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML.

    Raises:
        UserError: no YAML, or a value such as 2020-13-45 that only looks like a date or number.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source} is not YAML: {' '.join(str(error).split())}.") from None


def parse_overrides(words: Sequence[str], options: Iterable[str] = ()) -> dict[str, Any]:
    """Parse ``--key.sub value`` and ``--key.sub=value`` pairs; values are read as YAML.

    Args:
        words: what the command did not know.
        options: the names that it knows, one of which may have been meant.

    Raises:
        UserError: a word that is no ``--key``, a misspelt option, or a key without a value or with one that is no YAML.
    """
    overrides: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(f"Unexpected argument {word!r}; a recipe's key is set by --key.sub VALUE.")
        key, equals, value = word[2:].partition("=")
        _check_option(key, options)
        if not equals and not rest:
            raise UserError(f"{word} needs a value, as in {word} VALUE.")
        overrides[key] = parse_yaml(value if equals else rest.pop(0), f"The value of --{key}")
    return overrides


def _check_option(key: str, options: Iterable[str]) -> None:
    close = difflib.get_close_matches(key, list(options), n=1, cutoff=0.8)
    if close and key.partition(".")[0] not in Recipe.model_fields:
        raise UserError(f"There is no option --{key}; did you mean --{close[0]}?")


def _lay_over(content: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = content.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UserError(f"--{key} cannot be set, because {parent} is a single value, not a group of keys.")
        content = inner
    content[last] = value


def _explain(error: ValidationError) -> str:
    """Say the first fault in one sentence."""
    fault = error.errors(include_url=False)[0]
    key, given = ".".join(str(part) for part in fault["loc"]), fault["input"]
    if fault["type"] == "extra_forbidden":
        return f"there is no key {key!r}{_nearest_key(key)}"
    if fault["type"] == "missing":
        return f"{key} is missing."
    if fault["type"] == "value_error":
        return f"{key}: {fault['msg'].removeprefix('Value error, ')}"
    if fault["type"] == "literal_error":
        nearest = _nearest_choice(str(given), _choices(key))
        return f"{key} is {given!r}, but must be {fault['ctx']['expected']}{nearest}"
    kind = KINDS.get(fault["type"].partition("_")[0])
    return f"{key} is {given!r}, but {f'must be {kind}' if kind else fault['msg'].removeprefix('Input ').lower()}."


def _nearest_key(key: str) -> str:
    """Suggest a key of the same name elsewhere, one that is spelt alike, or all that stand beside it."""
    valid = list(_keys(Recipe))
    parent, _, name = key.rpartition(".")
    elsewhere = [other for other in valid if _last(other) == name]
    beside = [_last(other) for other in valid if other.rpartition(".")[0] == parent]
    beside_alike = [key.removesuffix(name) + other for other in difflib.get_close_matches(name, beside, n=1)]
    names_alike = difflib.get_close_matches(name, [_last(other) for other in valid], n=1, cutoff=0.8)
    elsewhere_alike = [other for other in valid if _last(other) in names_alike]
    for close in (*elsewhere, *beside_alike, *elsewhere_alike):
        return f"; did you mean {close!r}?"
    return f"; {parent or 'a recipe'} has {', '.join(beside or [k for k in valid if '.' not in k])}."


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _nearest_choice(given: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(given, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        if _is_part(field.annotation):
            yield from _keys(field.annotation, f"{prefix}{name}.")


def _choices(key: str) -> list[str]:
    model: type[BaseModel] = Recipe
    *parents, last = key.split(".")
    for parent in parents:
        annotation = model.model_fields[parent].annotation
        model = annotation if _is_part(annotation) else model
    return [str(choice) for choice in get_args(model.model_fields[last].annotation)]


def _is_part(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
