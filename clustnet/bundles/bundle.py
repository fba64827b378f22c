"""The bundle: a folder with a manifest and ONNX graphs, which is all that serving needs of a model."""

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from clustnet.bundles.groups import CoarseGrouping
from clustnet.errors import UserError
from clustnet.files import sha256_of

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
GATE = "gate.onnx"
MIXTURE = "mixture.onnx"
CONDITIONAL = "conditional.onnx"
LARGEST_MANIFEST = 16 * 2**20

RelativePath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Strict(BaseModel):
    """Base of the manifest's parts: unknown keys are errors and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(Strict):
    """What the graphs read.

    ``preparation`` says how an image file becomes such an input: ``mnist`` (grey, ink bright, cropped,
    fitted to 20x20, centred by mass) or ``resize`` (colour, resized to the shape).
    """

    shape: tuple[int, int] | tuple[int, int, Literal[3]]
    dtype: Literal["uint8"] = "uint8"
    meaning: str
    preparation: Literal["mnist", "resize"]


class ClassMap(Strict):
    """``values[expert][coarse][fine]``, rows summing to 1, and the reference images that fitted it.

    Without coarse labels there is one row an expert.
    """

    values: list[list[list[Annotated[float, Field(ge=0, le=1)]]]]
    data: str
    reference_images: Annotated[int, Field(ge=1)]
    reference_indices: list[Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _rows_sum_to_one(self) -> "ClassMap":
        sums = [sum(row) for expert in self.values for row in expert]
        if any(abs(total - 1) > 1e-6 for total in sums):
            raise ValueError(
                f"the class map has a row that sums to {max(sums, key=lambda s: abs(s - 1)):.6g}, not to 1"
            )
        if len(self.reference_indices) != self.reference_images:
            raise ValueError("reference_images is not the number of reference_indices")
        return self

    def array(self) -> NDArray[np.float64]:
        """Return the map as float64 [E, K, C] for K coarse labels."""
        return np.array(self.values)


class Calibration(Strict):
    """The temperature of the class probabilities, and the images whose coarse labels fitted it.

    Without coarse labels these are none, and the temperature is 1.
    """

    temperature: Annotated[float, Field(gt=0)]
    data: str
    images: Annotated[int, Field(ge=0)]


class Abstention(Strict):
    """The confidence under which an image is none that the model was made for.

    ``share`` of the ``images`` of ``data`` are under it; their labels were not used.
    """

    threshold: Annotated[float, Field(ge=0, le=1)]
    share: Annotated[float, Field(ge=0, le=1)]
    data: str
    images: Annotated[int, Field(ge=1)]

    def refuses(self, confidence: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Tell for each confidence, float32 [N], whether it is under the threshold, bool [N]."""
        return confidence < np.float32(self.threshold)


class Binned(Strict):
    """How many values of a number fall into each bin: bin i holds those from ``edges[i - 1]`` to below ``edges[i]``."""

    edges: Annotated[list[FiniteFloat], Field(min_length=1)]
    counts: list[Count]

    @model_validator(mode="after")
    def _bins_between_edges(self) -> "Binned":
        if any(left >= right for left, right in pairwise(self.edges)):
            raise ValueError("the edges do not ascend")
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError("there must be one count more than edges")
        return self


class DriftReference(Strict):
    """What live traffic is compared with: how often each expert, class, confidence and ink came up.

    All are counts over the ``images`` of ``data``, whose labels were not used: the most probable expert, the guessed
    class, the confidence, and the mean pixel, 0 to 1. ``held_out`` tells whether the model was trained without them.
    """

    data: str
    images: Annotated[int, Field(ge=1)]
    held_out: bool
    expert_load: Annotated[list[Count], Field(min_length=1)]
    guess: Annotated[list[Count], Field(min_length=1)]
    confidence: Binned
    ink: Binned

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
            "ink": self.ink.counts,
        }


class Score(Strict):
    """One measured figure, with all that is needed to know what it means."""

    name: str
    value: float
    split: str
    images: int
    protocol: str
    seed: int


class Manifest(Strict):
    """The contents of ``manifest.json``.

    ``routing`` says how the experts are combined: ``soft`` by the routing distribution, ``hard`` by
    its most probable expert alone. ``coarse_labels`` is ``["all"]`` where there are none: then every
    answer's ``binary`` is null. ``files`` maps every other file of the bundle to its SHA-256;
    ``conditional.onnx`` is among them for hard routing, but for bundles that were exported before there was one.
    ``drift`` is None in bundles that were exported before there was such a reference.
    """

    schema_version: Literal[2]
    name: Name
    version: Name
    method: str
    routing: Literal["soft", "hard"]
    created: datetime
    source_commit: str | None
    config_hash: Hash
    opset: Annotated[int, Field(ge=1)]
    input: InputSpec
    coarse_labels: tuple[str, str] | tuple[Literal["all"]]
    coarse_groups: tuple[tuple[int, ...], ...]
    experts: Annotated[int, Field(ge=1, le=1000)]
    fine_classes: Annotated[tuple[str, ...], Field(min_length=2)]
    class_map: ClassMap
    calibration: Calibration
    abstention: Abstention
    drift: DriftReference | None = None
    scores: list[Score]
    files: dict[RelativePath, Hash]

    @model_validator(mode="after")
    def _parts_agree(self) -> "Manifest":
        expected = (self.experts, len(self.coarse_labels), len(self.fine_classes))
        rows = self.class_map.values
        if len(rows) != expected[0] or any(
            len(cells) != expected[1] or any(len(row) != expected[2] for row in cells) for cells in rows
        ):
            raise ValueError(f"the class map must have the shape [experts, coarse, fine] = {list(expected)}")
        self._check_groups()
        if len(set(self.fine_classes)) != len(self.fine_classes):
            raise ValueError("fine_classes names a class twice")
        if self.drift and [len(self.drift.expert_load), len(self.drift.guess)] != [
            self.experts,
            len(self.fine_classes),
        ]:
            raise ValueError("drift must count every expert and every fine class")
        missing = [name for name in self.graphs() if name not in self.files]
        if missing:
            raise ValueError(f"files must list {missing[0]}")
        return self

    def _check_groups(self) -> None:
        """Raise where the groups are no partition of the fine classes."""
        whole = CoarseGrouping.whole(len(self.fine_classes))
        if self.coarse_labels != whole.labels:
            groups = dict(zip(self.coarse_labels, self.coarse_groups, strict=True))
            CoarseGrouping.from_mapping(groups, len(self.fine_classes))
        elif self.coarse_groups != whole.groups:
            raise ValueError("coarse_groups must hold one group of all fine classes where there are no coarse labels")

    def graphs(self) -> list[str]:
        """Return the graphs that every bundle has, relative to its folder."""
        return [GATE, *(expert_graph(i) for i in range(self.experts)), MIXTURE]

    def grouping(self) -> CoarseGrouping:
        """Return the coarse grouping the model was trained on."""
        return CoarseGrouping(self.coarse_labels, self.coarse_groups)


class Bundle:
    """A bundle folder whose manifest and hashes have been checked.

    Args:
        folder: the bundle's folder.

    Raises:
        UserError: the folder, manifest or a file is missing, damaged or of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder / MANIFEST)
        for name, expected in self.manifest.files.items():
            _check_hash(folder, name, expected)

    def path(self, graph: str) -> Path:
        """Return the path of one of the bundle's files."""
        return self.folder / graph


def expert_graph(index: int) -> str:
    """Return the name of one expert's graph inside the bundle."""
    return f"experts/expert_{index}.onnx"


def read_manifest(path: Path) -> Manifest:
    """Read a ``manifest.json``; no other file of the bundle is looked at.

    Raises:
        UserError: it is missing, or no valid manifest of this release.
    """
    if not path.is_file():
        raise UserError(f"{path.parent} is not a bundle: it holds no {MANIFEST}; make one with 'clustnet export'.")
    if path.stat().st_size > LARGEST_MANIFEST:
        raise UserError(f"{path} is larger than {LARGEST_MANIFEST >> 20} MiB, so it is no manifest; export it again.")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path} is not a valid manifest: {_first_fault(error)}; export the run again.") from None


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    if place == "schema_version":
        return f"its schema_version is {fault['input']!r}, this release reads {SCHEMA_VERSION}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _check_hash(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if not path.is_file():
        raise UserError(f"The bundle {folder} lacks {name}, which its manifest lists; copy or export it again.")
    if sha256_of(path) != expected:
        raise UserError(f"The bundle {folder} is damaged: {name} does not have its SHA-256; copy or export it again.")
