"""Architectures as data: autoencoders described in JSON by their encoder alone.

The format of "Clustering with Deep Learning: Taxonomy and New Methods" (Aljalbout, Golkov, Siddiqui, Cremers,
arXiv:1801.07648). A file holds a list of architectures. Nothing here needs torch.
"""

import json
import math
import reprlib
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from clustnet.errors import UserError
from training.recipe.parts import plain

# The largest number allowed; a larger one is a mistake.
MAX_NUMBER = 65_536
Count = Annotated[int, Field(ge=1, le=MAX_NUMBER, strict=True)]
Shape = tuple[Count, Count, Count]
FilterSize = tuple[Count, Count]
NonLinearity = Literal["linear", "rectify", "leaky_rectify", "elu", "softplus", "sigmoid", "tanh"]
ConvMode = Literal["valid", "same", "full"]
NetworkType = Literal["convolutional", "fully_connected"]
# As the format's first program spelt them.
NETWORK_TYPES = {"AE": "fully_connected", "CAE": "convolutional"}


def _either(choices: Any) -> str:
    """Return what a literal type allows, in words."""
    *others, last = map(repr, get_args(choices))
    return f"{', '.join(others)} or {last}"


NUMBER = f"from 1 to {MAX_NUMBER:,}"
ALLOWED = {
    "name": "a text of one character or more",
    "use_batch_norm": "true or false",
    "network_type": _either(NetworkType),
    "layers": "a list of an Input and at least one layer more",
    "output_shape": f"three whole numbers {NUMBER}: channels, height and width",
    "filter_size": f"two whole numbers {NUMBER}: height and width",
    "conv_mode": _either(ConvMode),
    **dict.fromkeys(("batch_size", "num_units", "num_filters"), f"a whole number {NUMBER}"),
    **dict.fromkeys(("non_linearity", "output_non_linearity"), _either(NonLinearity)),
}


class _Described(BaseModel):
    """Base of the format's parts: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(_Described):
    """The images, (C, H, W)."""

    type: Literal["Input"]
    output_shape: Shape


class Dense(_Described):
    """A fully connected layer; ``output_non_linearity`` is that of its mirror in the decoder."""

    type: Literal["Dense"]
    num_units: Count
    non_linearity: NonLinearity
    output_non_linearity: NonLinearity | None = None


class Convolution(_Described):
    """A convolution, or a transposed one; ``output_non_linearity`` is that of its mirror in the decoder.

    ``conv_mode`` says how far the filter goes over the border: ``valid`` not at all, so that the image shrinks by
    ``filter_size - 1``; ``same`` so that it keeps its size; ``full`` as far as it touches. Transposed, the reverse.
    """

    type: Literal["Conv2D", "Deconv2D"]
    num_filters: Count
    filter_size: FilterSize
    non_linearity: NonLinearity
    conv_mode: ConvMode = "valid"
    output_non_linearity: NonLinearity | None = None


class Pooling(_Described):
    """Maxima of patches.

    The mirror of ``MaxPool2D*`` replicates each value over its patch; that of ``MaxPool2D`` puts it back to the place
    of the maximum, among zeros. ``num_filters`` can only repeat the channels that come in.
    """

    type: Literal["MaxPool2D", "MaxPool2D*"]
    filter_size: FilterSize
    num_filters: Count | None = None


class Reshape(_Described):
    """The same numbers in another shape, (C, H, W)."""

    type: Literal["Reshape"]
    output_shape: Shape


Layer = Annotated[Input | Dense | Convolution | Pooling | Reshape, Field(discriminator="type")]
LAYER_TYPES = ("Input", "Conv2D", "MaxPool2D", "MaxPool2D*", "Dense", "Reshape", "Deconv2D")


Kind = Literal["convolve", "deconvolve", "pool", "replicate", "unpool", "dense", "reshape"]


class Step(NamedTuple):
    """One layer of the whole autoencoder, with everything that a network is built from.

    Args:
        kind: ``convolve``, ``deconvolve``, ``pool``, ``replicate``, ``unpool``, ``dense`` or ``reshape``.
        before: shape of the input, (C, H, W).
        after: shape of the output, (C, H, W).
        filter_size: size of the filters of convolutions and pooling.
        padding: how far the filter of a convolution goes over the border.
        non_linearity: non-linearity after the layer.
        batch_norm: whether the layer is batch-normalised, before its non-linearity.
        layer: number of the described layer that the step implements or mirrors.
    """

    kind: Kind
    before: tuple[int, int, int]
    after: tuple[int, int, int]
    filter_size: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    non_linearity: NonLinearity = "linear"
    batch_norm: bool = False
    layer: int = 0

    @property
    def trained(self) -> bool:
        """Whether the step has weights."""
        return self.kind in ("convolve", "deconvolve", "dense")


class Architecture(_Described):
    """An autoencoder of which the encoder is described; the decoder mirrors it.

    Args:
        name: identifies it.
        batch_size: images per step of training.
        use_batch_norm: whether (de)convolutions are batch-normalised, all but the output.
        network_type: ``convolutional`` or ``fully_connected``; by default whichever the layers are.
        output_non_linearity: non-linearity of the decoder's output; by default that of the first layer with weights.
        layers: the encoder, an ``Input`` and what follows it.
    """

    name: Annotated[str, Field(min_length=1)]
    batch_size: Count
    use_batch_norm: bool = False
    network_type: Annotated[
        NetworkType | None,
        BeforeValidator(lambda kind: NETWORK_TYPES.get(kind, kind) if isinstance(kind, str) else kind),
    ] = None
    output_non_linearity: NonLinearity | None = None
    layers: Annotated[list[Layer], Field(min_length=2)]

    @model_validator(mode="after")
    def _parts_agree(self) -> "Architecture":
        if not isinstance(self.layers[0], Input):
            raise _fault(self, 0, "the first layer must be of type Input")
        if self.use_batch_norm and self.batch_size == 1:
            raise UserError("batch_size is 1, but use_batch_norm needs 2 images or more")
        steps = self.encoder()
        if not any(step.trained for step in steps):
            raise UserError("layers: there is nothing to train; add a Conv2D, Deconv2D or Dense layer")
        images = [index for index, layer in enumerate(self.layers) if isinstance(layer, Convolution | Pooling)]
        if self.network_type == "fully_connected" and images:
            raise _fault(self, images[0], "network_type is fully_connected, which allows Input, Dense and Reshape")
        if self.network_type == "convolutional" and not images:
            raise UserError("network_type is convolutional, but no layer is; make it fully_connected or leave it out")
        first = self.layers[next(step.layer for step in steps if step.trained)]
        both = {self.output_non_linearity, getattr(first, "output_non_linearity", None)} - {None}
        if len(both) > 1:
            raise UserError(f"output_non_linearity is {' and '.join(sorted(map(str, both)))}; give it once")
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of the images, (C, H, W)."""
        layer = self.layers[0]
        assert isinstance(layer, Input)  # noqa: S101 - checked when it was made
        return layer.output_shape

    @property
    def embedding(self) -> int:
        """D, the width of the embedding."""
        return math.prod(self.encoder()[-1].after)

    def encoder(self) -> list[Step]:
        """Return the encoder's steps.

        Raises:
            UserError: a layer does not fit the one before it.
        """
        steps: list[Step] = []
        shape = self.image_shape
        for index, layer in enumerate(self.layers[1:], start=1):
            steps.append(self._step(index, layer, shape))
            shape = steps[-1].after
        return steps

    def decoder(self) -> list[Step]:
        """Return the decoder's steps: the encoder's, mirrored.

        A step has the non-linearity of the layer whose output it rebuilds, and the output has that of the first layer
        with weights, unless ``output_non_linearity`` says otherwise. Only the output is not batch-normalised.
        """
        encoder = self.encoder()
        trained = [step for step in encoder if step.trained]
        rebuilt = {step.layer: before.non_linearity for before, step in pairwise(trained)}
        first = trained[0]
        rebuilt[first.layer] = self.output_non_linearity or first.non_linearity
        return [self._mirror(step, rebuilt.get(step.layer, "linear"), step is first) for step in reversed(encoder)]

    def _step(self, index: int, layer: Layer, before: tuple[int, int, int]) -> Step:
        if isinstance(layer, Dense):
            return Step("dense", before, (1, 1, layer.num_units), non_linearity=layer.non_linearity, layer=index)
        if isinstance(layer, Convolution):
            return self._convolution(index, layer, before)
        if isinstance(layer, Pooling):
            return self._pooling(index, layer, before)
        if isinstance(layer, Input):
            raise _fault(self, index, "only the first layer may be of type Input")
        if math.prod(layer.output_shape) != math.prod(before):
            raise _fault(
                self, index, f"output_shape {_by(layer.output_shape)} has not as many numbers as {_by(before)}"
            )
        return Step("reshape", before, layer.output_shape, layer=index)

    def _convolution(self, index: int, layer: Convolution, before: tuple[int, int, int]) -> Step:
        size = layer.filter_size
        if layer.conv_mode == "same" and not all(side % 2 for side in size):
            raise _fault(self, index, f"filter_size {_by(size)} must be odd, as conv_mode is same")
        reach = {"valid": 0, "same": 0.5, "full": 1}[layer.conv_mode]
        padding = (int(reach * (size[0] - 1)), int(reach * (size[1] - 1)))
        growth = [2 * pad - side + 1 for pad, side in zip(padding, size, strict=True)]
        kind: Kind = "convolve" if layer.type == "Conv2D" else "deconvolve"
        height, width = (
            side + (grow if kind == "convolve" else -grow) for side, grow in zip(before[1:], growth, strict=True)
        )
        if min(height, width) < 1:
            raise _fault(self, index, f"filter_size {_by(size)} is too large for what comes in, {_by(before)}")
        after = (layer.num_filters, height, width)
        return Step(kind, before, after, size, padding, layer.non_linearity, self.use_batch_norm, index)

    def _pooling(self, index: int, layer: Pooling, before: tuple[int, int, int]) -> Step:
        channels, height, width = before
        if height % layer.filter_size[0] or width % layer.filter_size[1]:
            size = _by(layer.filter_size)
            raise _fault(self, index, f"filter_size {size} must divide what comes in, {_by(before)}")
        if layer.num_filters not in (None, channels):
            raise _fault(self, index, f"num_filters is {layer.num_filters}, but {channels} come in; leave it out")
        after = (channels, height // layer.filter_size[0], width // layer.filter_size[1])
        return Step("pool", before, after, layer.filter_size, layer=index)

    def _mirror(self, step: Step, non_linearity: NonLinearity, output: bool) -> Step:
        """Return the step that undoes another one."""
        layer = self.layers[step.layer]
        own = getattr(layer, "output_non_linearity", None)
        mirrored: dict[str, Kind] = {
            "convolve": "deconvolve",
            "deconvolve": "convolve",
            "pool": "replicate" if layer.type == "MaxPool2D*" else "unpool",
        }
        return step._replace(
            kind=mirrored.get(step.kind, step.kind),
            before=step.after,
            after=step.before,
            non_linearity=own or non_linearity,
            batch_norm=step.batch_norm and not output,
        )


def read_architectures(path: Path) -> list[Architecture]:
    """Return the architectures of a file.

    Raises:
        UserError: there is no such file, it is not JSON, or an architecture is wrong; the message names entry, layer
            and field, and what is allowed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read as JSON ({error}); name a file such as those in configs/architectures/."
        ) from None
    if not isinstance(content, list) or not content:
        raise UserError(f"{path} must be a list of architectures, as those in configs/architectures/ are.")
    return [parse_architecture(entry, f"{path}, entry {index}") for index, entry in enumerate(content)]


def read_architecture(name: str) -> Architecture:
    """Return the architecture ``FILE:ENTRY``; an entry is a number from 0, which is the default, or a name.

    Raises:
        UserError: as ``read_architectures``, or there is no such entry.
    """
    file, colon, entry = name.rpartition(":")
    if not colon:
        file, entry = name, "0"
    found = read_architectures(Path(file))
    for index, architecture in enumerate(found):
        if entry in (str(index), architecture.name):
            return architecture
    names = ", ".join(f"{index} ({architecture.name})" for index, architecture in enumerate(found))
    raise UserError(f"{file} has no entry {entry!r}; it has {names}.")


def parse_architecture(content: Any, source: str) -> Architecture:
    """Return the architecture that JSON describes, checked.

    Args:
        content: a mapping of its fields.
        source: where it is from, for the error.

    Raises:
        UserError: the architecture is wrong; the message names the first fault's layer and field, and what is allowed.
    """
    content = plain(content)
    if not isinstance(content, Mapping):
        raise UserError(f"{source} must be a mapping with the fields {', '.join(Architecture.model_fields)}.")
    try:
        return Architecture.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(error, content)}.") from None


def _explain(error: ValidationError, content: Mapping[str, Any]) -> str:
    """Return the first fault: the layer, the field and what is allowed."""
    fault = error.errors(include_url=False)[0]
    if fault["type"] == "value_error":
        return str(fault["msg"].removeprefix("Value error, "))
    place, holder = list(fault["loc"]), content
    where, fields = "", list(Architecture.model_fields)
    if len(place) > 1 and place[0] == "layers":
        holder = content["layers"][place[1]]
        where, fields = _place(content["layers"], int(place[1]))
        place = [part for part in place[2:] if part not in LAYER_TYPES]
    if not isinstance(holder, Mapping):
        return f"{where.removesuffix(': ')} is {reprlib.repr(holder)}, but must be a mapping with a type"
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{where}type must be one of {', '.join(LAYER_TYPES)}"
    field = str(place[0])
    if fault["type"] == "extra_forbidden":
        return f"{where}there is no field {field!r}; allowed are {', '.join(fields)}"
    given = f"is {reprlib.repr(holder[field])}, but" if field in holder else "is missing; it"
    return f"{where}{field} {given} must be {ALLOWED[field]}"


def _place(layers: Any, index: int) -> tuple[str, list[str]]:
    """Return how an error names a layer, and the fields that its type has."""
    layer = layers[index] if isinstance(layers, list) else None
    kind = layer.get("type") if isinstance(layer, Mapping) else None
    types: Iterable[type[_Described]] = (Input, Dense, Convolution, Pooling, Reshape)
    fields = [
        field
        for described in types
        if kind in described.model_fields["type"].annotation.__args__  # type: ignore[union-attr]
        for field in described.model_fields
    ]
    return f"layer {index} ({kind}): " if kind in LAYER_TYPES else f"layer {index}: ", fields


def _fault(architecture: Architecture, index: int, words: str) -> UserError:
    return UserError(f"layer {index} ({architecture.layers[index].type}): {words}")


def _by(sides: Iterable[int]) -> str:
    return "x".join(map(str, sides))
