"""The description of an encoder: the ``encoder.json`` beside its graph."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from clustnet.bundles.bundle import Hash, InputSpec, Label, Strict, first_fault
from clustnet.bundles.preparation import MAX_SIDE_PIXELS
from clustnet.errors import UserError
from clustnet.files import sha256_of

MAX_SPEC_BYTES = 2**20
# The largest size of a graph in a single file.
MAX_GRAPH_BYTES = 2 * 2**30 - 1
MAX_FEATURES = 65_536

Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PIXELS)]
Level = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=1)]


class EncoderSpec(Strict):
    """What an encoder reads and writes, and where it comes from.

    A graph reads either ``uint8 [N, H, W, 3]``, which it normalises itself, or ``float32 [N, 3, H, W]``, normalised as
    ``(pixel / 255 - mean) / std``. It writes ``float32 [N, D]``.

    Args:
        name: the name of the encoder, or ``a,b`` for two whose embeddings are concatenated.
        sha256: SHA-256 of the graph's file.
        licence: licence of the weights.
        source: package and version, or other source of the weights.
        trained_on: the data and labels that the weights were trained on. Scores on such data are too good.
        size: height and width of the images that are embedded.
        multiple: other sizes are read as well if both sides are multiples of this; None for ``size`` alone.
        colour: always True, for three channels; grey images have three equal ones.
        mean: mean per channel, of pixels scaled to 0..1.
        std: standard deviation per channel, likewise.
        crop: the share of each side, in the middle, that is embedded. Images are prepared larger accordingly.
        features: D, the length of an embedding; None if only the graph tells.
    """

    name: Label
    sha256: Hash
    licence: Label = "not stated"
    source: Label = "not stated"
    trained_on: Label = "not stated"
    size: tuple[Side, Side]
    multiple: Side | None = None
    colour: Literal[True] = True
    mean: tuple[Level, Level, Level]
    std: tuple[Deviation, Deviation, Deviation]
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    features: Annotated[int, Field(ge=1, le=MAX_FEATURES)] | None = None

    def reads(self, size: tuple[int, int]) -> bool:
        """Return whether the graph reads images of this height and width."""
        if size == self.size:
            return True
        return self.multiple is not None and all(side > 0 and side % self.multiple == 0 for side in size)

    def input(self, size: tuple[int, int] | None = None) -> InputSpec:
        """Return how an image file is prepared for the size of the spec, or for another that the graph reads."""
        height, width = (round(side / self.crop) for side in size or self.size)
        return InputSpec(shape=(height, width, 3), meaning="RGB, 0 to 255", preparation="fit")


def read_spec(graph: Path, description: Path) -> EncoderSpec:
    """Return the spec of a graph, with defaults for what a short description leaves out.

    Args:
        graph: the ONNX file.
        description: the JSON file beside it, with at least ``size``, ``mean`` and ``std``.

    Raises:
        UserError: a file is missing or too large, the description is wrong, or the graph does not match its SHA-256.
    """
    for path in (graph, description):
        if not path.is_file():
            raise UserError(
                f"The encoder {graph} needs {path.name} beside it; docs/encoders.md says what both files hold."
            )
    for path, most in ((graph, MAX_GRAPH_BYTES), (description, MAX_SPEC_BYTES)):
        if path.stat().st_size > most:
            raise UserError(
                f"{path} is larger than {most >> 20:,} MiB, so it cannot be part of an encoder; name another."
            )
    content, found = _mapping(description), sha256_of(graph)
    try:
        spec = EncoderSpec.model_validate({"name": graph.stem, "sha256": found} | content)
    except ValidationError as error:
        raise UserError(f"{description} does not describe an encoder: {first_fault(error)}.") from None
    if spec.sha256 != found:
        raise UserError(f"The encoder {graph} is damaged: it does not match its SHA-256; copy it again.")
    return spec


def _mapping(path: Path) -> dict[str, Any]:
    """Return the keys and values in a JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON; docs/encoders.md has an example.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold keys and values; docs/encoders.md has an example.")
    return content
