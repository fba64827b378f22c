"""The bundle: a folder with a manifest and ONNX graphs, all that is needed to serve a model."""

import posixpath
import re
from collections.abc import Container, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clustnet.bundles.groups import CoarseGrouping
from clustnet.errors import UserError
from clustnet.files import sha256_of

SCHEMA_VERSION = 3
MANIFEST = "manifest.json"
GATE = "gate.onnx"
MIXTURE = "mixture.onnx"
CONDITIONAL = "conditional.onnx"
# The weights that graphs with an encoder share. They lie beside the experts, as a graph reads only files beside or
# below it.
SHARED_WEIGHTS = "experts/weights.bin"
MAX_MANIFEST_BYTES = 16 * 2**20
MAX_NAME_CHARACTERS = 200
# How a graph names a file that holds some of its weights: a key and a value, each preceded by its length.
LOCATION = re.compile(rb"\n\x08location(?:\x12([\x80-\xff]*[\x00-\x7f]))?")
# The shape that the preparation mnist gives any drawing.
DIGIT_SHAPE = (28, 28)

RelativePath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Label = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
Side = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """Base of the manifest's parts: unknown keys are errors, numbers are finite, and instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class InputSpec(Strict):
    """What the graphs read.

    ``preparation`` says how an image file becomes such an input: ``mnist`` (grey, ink bright, cropped, fitted to
    20x20, centred by mass), ``fit`` (resized, keeping its proportions) or ``resize`` (stretched to the shape).
    ``aspect`` says what ``fit`` does with an image of other proportions: ``crop`` to its middle, or ``pad`` with black.
    """

    shape: tuple[Side, Side] | tuple[Side, Side, Literal[3]]
    dtype: Literal["uint8"] = "uint8"
    meaning: str
    preparation: Literal["mnist", "fit", "resize"]
    aspect: Literal["crop", "pad"] = "crop"

    @model_validator(mode="after")
    def _digits_have_one_size(self) -> "InputSpec":
        if self.preparation == "mnist" and self.shape != DIGIT_SHAPE:
            raise ValueError(f"the preparation mnist makes images of {list(DIGIT_SHAPE)}, not {list(self.shape)}")
        return self

    @property
    def colour(self) -> bool:
        """Whether images have three channels."""
        return len(self.shape) == 3


class Subtype(Strict):
    """A class that the model distinguishes inside one coarse label.

    ``named`` says whether a person named it, by reference images or in the review.
    """

    name: Label
    coarse_label: Label
    named: bool


class ClassMap(Strict):
    """The class map, ``values[expert][coarse][subtype]`` with rows summing to 1, and its origin.

    ``kind`` is ``references`` for a map fitted on reference images, or ``cells`` for one in which each cell in use is a
    subtype of its own; the latter has no reference images.
    """

    values: list[list[list[Annotated[float, Field(ge=0, le=1)]]]]
    kind: Literal["references", "cells"]
    data: str
    reference_images: Count
    reference_indices: list[Count]

    @model_validator(mode="after")
    def _rows_sum_to_one(self) -> "ClassMap":
        sums = [sum(row) for expert in self.values for row in expert]
        if any(abs(total - 1) > 1e-6 for total in sums):
            raise ValueError(
                f"the class map has a row that sums to {max(sums, key=lambda s: abs(s - 1)):.6g}, not to 1"
            )
        if len(self.reference_indices) != self.reference_images:
            raise ValueError("reference_images is not the number of reference_indices")
        if (self.kind == "cells") != (self.reference_images == 0):
            raise ValueError("a class map has reference images, or its kind is cells")
        return self

    def array(self) -> NDArray[np.float64]:
        """Return the map, float64 [E, K, C]."""
        return np.array(self.values)


class Calibration(Strict):
    """The temperature of the class probabilities, and the images on whose coarse labels it was fitted.

    With a single coarse label there are no such images, and the temperature is 1.
    """

    temperature: Annotated[float, Field(gt=0)]
    data: str
    images: Count


class Abstention(Strict):
    """The threshold of confidence below which the model abstains.

    ``share`` is the fraction of the ``images`` of ``data`` that lie below it; their labels were not used.
    """

    threshold: Annotated[float, Field(ge=0, le=1)]
    share: Annotated[float, Field(ge=0, le=1)]
    data: str
    images: Annotated[int, Field(ge=1)]

    def refuses(self, confidence: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return whether each confidence, float32 [N], is below the threshold, bool [N]."""
        return confidence < np.float32(self.threshold)


class Binned(Strict):
    """A histogram: bin i counts the values from ``edges[i - 1]`` up to, but excluding, ``edges[i]``."""

    edges: Annotated[list[float], Field(min_length=1)]
    counts: list[Count]

    @model_validator(mode="after")
    def _bins_between_edges(self) -> "Binned":
        if any(left >= right for left, right in pairwise(self.edges)):
            raise ValueError("the edges do not ascend")
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError("there must be one count more than edges")
        return self


class DriftReference(Strict):
    """The distributions of expert, guess, confidence and brightness with which live traffic is compared.

    All are counts over the ``images`` of ``data``, whose labels were not used: of the most probable expert, the guessed
    subtype, the confidence, and the mean pixel, 0 to 1. ``held_out`` says whether the model was trained without them.
    """

    data: str
    images: Annotated[int, Field(ge=1)]
    held_out: bool
    expert_load: Annotated[list[Count], Field(min_length=1)]
    guess: Annotated[list[Count], Field(min_length=1)]
    confidence: Binned
    brightness: Binned

    @model_validator(mode="after")
    def _all_images_are_counted(self) -> "DriftReference":
        for name, counts in self.counts().items():
            if sum(counts) != self.images:
                raise ValueError(f"the counts of {name} do not add up to the number of images")
        return self

    def counts(self) -> dict[str, list[int]]:
        """Return the counts of each distribution, by its name."""
        return {
            "expert_load": self.expert_load,
            "guess": self.guess,
            "confidence": self.confidence.counts,
            "brightness": self.brightness.counts,
        }


class EncoderSource(Strict):
    """The encoder that is part of the graphs.

    ``sha256`` is that of the encoder's own graph; ``trained_on`` names the data and labels that it was trained on.
    """

    name: Label
    sha256: Hash
    licence: Label
    trained_on: Label


class Score(Strict):
    """One measured value, with everything needed to interpret it."""

    name: str
    value: float
    split: str
    images: int
    protocol: str
    seed: int


class TreeLabel(Strict):
    """A label of a tree: its name, which includes its ancestors as in ``animal/canine``, and the index of its parent.

    A parent precedes its children; the parent of a top-level label is -1.
    """

    name: Label
    parent: Annotated[int, Field(ge=-1)]


class Manifest(Strict):
    """The contents of ``manifest.json``.

    ``routing`` says how the experts are combined: ``soft`` by the routing distribution, ``hard`` by the most probable
    expert alone. ``coarse_labels`` has one entry where images have no coarse labels. ``encoder`` is set where gate and
    experts read embeddings. ``tree`` is set where an answer walks a tree of labels: the coarse labels are its top
    level, the subtypes its leaves, and the leaves take the place of experts. ``files`` maps every other file of the
    bundle to its SHA-256.
    """

    schema_version: Literal[3]
    name: Name
    version: Name
    method: str
    routing: Literal["soft", "hard"]
    created: datetime
    source_commit: str | None
    config_hash: Hash
    opset: Annotated[int, Field(ge=1)]
    input: InputSpec
    coarse_labels: Annotated[tuple[Label, ...], Field(min_length=1)]
    experts: Annotated[int, Field(ge=1, le=1000)]
    subtypes: Annotated[tuple[Subtype, ...], Field(min_length=1)]
    class_map: ClassMap
    calibration: Calibration
    abstention: Abstention
    encoder: EncoderSource | None = None
    tree: tuple[TreeLabel, ...] | None = None
    drift: DriftReference | None = None
    scores: list[Score]
    files: dict[RelativePath, Hash]

    @model_validator(mode="after")
    def _parts_agree(self) -> "Manifest":
        self._check_subtypes()
        self._check_class_map()
        self._check_tree()
        classes = len(self.subtypes)
        if self.drift and [len(self.drift.expert_load), len(self.drift.guess)] != [self.experts, classes]:
            raise ValueError("drift must count every expert and every subtype")
        missing = [name for name in self.graphs() if name not in self.files]
        if missing:
            raise ValueError(f"files must list {missing[0]}")
        return self

    def _check_subtypes(self) -> None:
        """Raise unless names are distinct and the subtypes have exactly the coarse labels of the manifest."""
        for kind, names in (("coarse_labels", self.coarse_labels), ("subtypes", self.class_names)):
            if len(set(names)) != len(names):
                raise ValueError(f"{kind} lists a name twice")
        if {subtype.coarse_label for subtype in self.subtypes} != set(self.coarse_labels):
            raise ValueError("every subtype needs one of the coarse_labels, and every coarse label a subtype")

    def _check_class_map(self) -> None:
        """Raise on a wrong shape, or if a map of kind ``cells`` leads from a cell to another coarse label's subtype."""
        expected = [self.experts, len(self.coarse_labels), len(self.subtypes)]
        rows = self.class_map.values
        if len(rows) != expected[0] or any(
            len(cells) != expected[1] or any(len(row) != expected[2] for row in cells) for cells in rows
        ):
            raise ValueError(f"the class map must have the shape [experts, coarse labels, subtypes] = {expected}")
        if self.class_map.kind == "cells" and self.class_map.array()[:, ~self.membership()].any():
            raise ValueError("the class map has a cell that stands for a subtype of another coarse label")

    def _check_tree(self) -> None:
        """Raise unless the top-level labels of a tree are the coarse labels, and its leaves the subtypes."""
        if self.tree is None:
            return
        if any(label.parent >= place for place, label in enumerate(self.tree)):
            raise ValueError("tree has a label that comes before its parent")
        above = {label.parent for label in self.tree}
        leaves = [label.name for place, label in enumerate(self.tree) if place not in above]
        highest = tuple(label.name for label in self.tree if label.parent == -1)
        if highest != self.coarse_labels or sorted(leaves) != sorted(self.class_names):
            raise ValueError("the top labels of the tree must be the coarse_labels, and its leaves the subtypes")
        if self.experts != len(leaves):
            raise ValueError("experts must be the number of leaves of the tree")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the C subtypes, in the order of the class probabilities."""
        return tuple(subtype.name for subtype in self.subtypes)

    def graphs(self) -> list[str]:
        """Return the paths of the graphs that the bundle must have; with a tree there is no gate and no expert."""
        if self.tree is not None:
            return [MIXTURE, CONDITIONAL]
        return [GATE, *(expert_graph(i) for i in range(self.experts)), MIXTURE]

    def examples(self) -> list[int]:
        """Return how many example images each subtype has."""
        counts = [0] * len(self.subtypes)
        for subtype in range(len(counts)):
            while example_file(subtype, counts[subtype]) in self.files:
                counts[subtype] += 1
        return counts

    def grouping(self) -> CoarseGrouping:
        """Return which subtypes belong to which coarse label."""
        groups = [
            tuple(index for index, subtype in enumerate(self.subtypes) if subtype.coarse_label == label)
            for label in self.coarse_labels
        ]
        return CoarseGrouping(self.coarse_labels, tuple(groups))

    def membership(self) -> NDArray[np.bool_]:
        """Return whether each subtype belongs to each coarse label, bool [K, C]."""
        # Not by way of the grouping, which is ten times slower: the service calls this for each request.
        return np.array([[subtype.coarse_label == label for subtype in self.subtypes] for label in self.coarse_labels])


class Bundle:
    """A bundle folder whose manifest and hashes have been checked.

    Args:
        folder: the bundle's folder.

    Raises:
        UserError: the folder, the manifest or a file is missing, damaged or of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder / MANIFEST)
        for name, expected in self.manifest.files.items():
            _check_hash(folder, name, expected)
        for name in self.manifest.files:
            if name.endswith(".onnx"):
                _check_weights(folder, name, self.manifest.files)

    def path(self, graph: str) -> Path:
        """Return the path of one of the bundle's files."""
        return self.folder / graph


def expert_graph(index: int) -> str:
    """Return the path of one expert's graph inside the bundle."""
    return f"experts/expert_{index}.onnx"


def example_file(subtype: int, number: int) -> str:
    """Return the path inside the bundle of an example image of a subtype; both are numbered from 0."""
    return f"examples/{subtype}/{number}.jpg"


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in a ``manifest.json`` without reading any other file of the bundle.

    Raises:
        UserError: it is missing, or not a valid manifest of this release.
    """
    if not path.is_file():
        raise UserError(f"{path.parent} is not a bundle: it holds no {MANIFEST}; make one with 'clustnet export'.")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        limit = MAX_MANIFEST_BYTES >> 20
        raise UserError(f"{path} is larger than {limit} MiB, so it is not a manifest; export the run again.")
    content = path.read_bytes()
    _check_schema(path, content)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path} is not a valid manifest: {first_fault(error)}; export the run again.") from None


class _Schema(BaseModel):
    """The one key that manifests of every release share."""

    schema_version: int


def _check_schema(path: Path, content: bytes) -> None:
    """Raise if the manifest has the schema of another release."""
    try:
        found = _Schema.model_validate_json(content).schema_version
    except ValidationError:
        return
    if found != SCHEMA_VERSION:
        again = f"export its run again with 'clustnet export RUN --out {path.parent}'"
        remedy = again if found < SCHEMA_VERSION else "install the release of clustnet that wrote it"
        raise UserError(
            f"The bundle {path.parent} has schema {found}, but this release reads schema {SCHEMA_VERSION}; {remedy}."
        )


def first_fault(error: ValidationError) -> str:
    """Return the first fault that pydantic found, preceded by its location."""
    fault = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _check_hash(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if not path.is_file():
        raise UserError(f"The bundle {folder} lacks {name}, which its manifest lists; copy or export it again.")
    if sha256_of(path) != expected:
        raise UserError(f"The bundle {folder} is damaged: {name} does not match its SHA-256; copy or export it again.")


def _check_weights(folder: Path, graph: str, files: Container[str]) -> None:
    """Raise if a graph reads weights from a file that the manifest does not list, which no hash would protect."""
    for location in _locations((folder / graph).read_bytes()):
        if posixpath.normpath(posixpath.join(posixpath.dirname(graph), location)) not in files:
            raise UserError(
                f"The bundle {folder} is incomplete: {graph} reads weights from {location!r}, which the manifest does "
                "not list; export it again."
            )


def _locations(content: bytes) -> Iterator[str]:
    """Yield the files that a graph reads weights from, as it names them; "" for a name that cannot be parsed."""
    for found in LOCATION.finditer(content):
        # A varint: seven bits a byte, the lowest first.
        length = sum((byte & 127) << 7 * place for place, byte in enumerate(found[1] or b""))
        yield content[found.end() : found.end() + length].decode("utf-8", "replace")
