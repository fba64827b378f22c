"""Encoders, which turn images into embeddings with onnxruntime."""

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.predictor import CPU, CUDA, LOG_LEVEL, PROVIDER_OPTIONS, Device, providers_for
from clustnet.encoders.spec import EncoderSpec, read_spec
from clustnet.errors import UserError

# Images in one inference. On a CPU, the activations of a few images stay in its cache.
BATCH_IMAGES = {CPU: 8, CUDA: 256}
BYTES, FLOATS = "tensor(uint8)", "tensor(float)"
# An embedding shorter than this has no direction.
SMALLEST_LENGTH = 1e-12

Floats = NDArray[np.float32]


class Embeds(Protocol):
    """Turns images into embeddings: one encoder, or several whose embeddings are concatenated."""

    @property
    def spec(self) -> EncoderSpec:
        """The description of the encoder; ``features`` is never None."""

    @property
    def input(self) -> InputSpec:
        """How image files are prepared for the encoder."""

    @property
    def provider(self) -> str:
        """The execution provider that onnxruntime uses."""

    def embed(self, images: NDArray[np.uint8], batch: int | None = None) -> Floats:
        """Return the embeddings of images, float32 [N, D]."""


class Encoder:
    """A single ONNX graph that embeds images.

    Args:
        graph: the ONNX file.
        description: the JSON file beside it.
        device: as for ``clustnet.bundles.predictor.Predictor``.
        threads: threads inside one inference; 0 uses all cores.
        size: height and width of the images; by default those of the spec.

    Raises:
        UserError: a file is missing or damaged, or the graph does not embed images of this size.
    """

    def __init__(
        self,
        graph: Path,
        description: Path,
        device: Device = "auto",
        threads: int = 1,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.graph = graph
        spec = read_spec(graph, description)
        size = size or spec.size
        if not spec.reads(size):
            others = f"or of other multiples of {spec.multiple}" if spec.multiple else "and no others"
            raise UserError(
                f"The encoder {spec.name} reads images of {spec.size[0]}x{spec.size[1]} {others}, not of "
                f"{size[0]}x{size[1]}; choose such a size."
            )
        self.size = size
        self.input = spec.input(size)
        self._session = _open(graph, spec, device, threads)
        self.provider: str = self._session.get_providers()[0]
        port = _image_port(graph, self._session)
        self._name, self.reads_bytes = port.name, port.type == BYTES
        self.spec = spec
        self.spec = spec.model_copy(update={"features": self._checked_features(), "size": size})

    def embed(self, images: NDArray[np.uint8], batch: int | None = None) -> Floats:
        """Return the embeddings of images, float32 [N, D].

        Args:
            images: uint8 ``[N, *input.shape]``, 0 to 255.
            batch: images in one inference, which bounds the memory; by default 8, or 256 on a GPU.

        Raises:
            UserError: the images have another shape or dtype.
        """
        expected = tuple(self.input.shape)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise UserError(
                f"The encoder {self.spec.name} reads uint8 images of {list(expected)}, "
                f"but got {images.dtype} images of {list(images.shape[1:])}."
            )
        size = batch or BATCH_IMAGES.get(self.provider, BATCH_IMAGES[CPU])
        embeddings = np.empty((len(images), self.spec.features or 0), np.float32)
        for start in range(0, len(images), size):
            embeddings[start : start + size] = self._embed(images[start : start + size])
        return embeddings

    def _embed(self, images: NDArray[np.uint8]) -> Any:
        """Return the output of the graph for one batch."""
        cropped = centre(images, self.size)
        pixels = cropped if self.reads_bytes else normalised(cropped, self.spec)
        return self._session.run(None, {self._name: pixels})[0]

    def _checked_features(self) -> int:
        """Return D, the length of an embedding, found by embedding two black images.

        Raises:
            UserError: the graph does not run, its output is not [N, D], or its D differs from the description.
        """
        black = np.zeros((2, *self.input.shape), np.uint8)
        try:
            found = self._embed(black)
        except Exception as error:  # noqa: BLE001 - onnxruntime raises a dozen types of its own
            reason = str(error).splitlines()[0]
            raise UserError(
                f"The encoder {self.graph} does not embed images of {self.size[0]}x{self.size[1]} ({reason}); correct "
                "size in its description, or export the graph with a free number of images."
            ) from None
        wanted = self.spec.features
        shape = list(np.shape(found))
        if len(shape) != 2 or shape[0] != 2 or (wanted is not None and shape[1] != wanted):
            raise UserError(
                f"The encoder {self.graph} writes {shape} for 2 images, but must write [2, {wanted or 'D'}], one "
                "embedding per image; pool its output."
            )
        return int(shape[1])


class Concatenated:
    """Several encoders, whose embeddings are scaled to length 1 and concatenated, so that all count equally.

    Args:
        encoders: at least two encoders that read images of the same shape.

    Raises:
        UserError: they read images of different shapes.
    """

    def __init__(self, encoders: tuple[Encoder, ...]) -> None:
        self.encoders = encoders
        first = encoders[0]
        for other in encoders[1:]:
            if other.input.shape != first.input.shape:
                one, two = ("x".join(map(str, encoder.input.shape[:2])) for encoder in (first, other))
                raise UserError(
                    f"The encoders {first.spec.name} and {other.spec.name} read images of {one} and {two}; take two "
                    "that read the same size, or make one again with 'clustnet encoder --size'."
                )
        self.input = first.input
        self.provider = first.provider
        specs = [encoder.spec for encoder in encoders]
        self.spec = first.spec.model_copy(
            update={
                "name": ",".join(spec.name for spec in specs),
                "sha256": hashlib.sha256(",".join(spec.sha256 for spec in specs).encode()).hexdigest(),
                "licence": _joined(spec.licence for spec in specs),
                "source": _joined(spec.source for spec in specs),
                "trained_on": _joined(spec.trained_on for spec in specs),
                "multiple": None,
                "features": sum(spec.features or 0 for spec in specs),
            }
        )

    def embed(self, images: NDArray[np.uint8], batch: int | None = None) -> Floats:
        """Return the concatenated embeddings of images, float32 [N, D]; see ``Encoder.embed`` for the arguments."""
        return np.concatenate([unit(encoder.embed(images, batch)) for encoder in self.encoders], axis=1)


def unit(embeddings: Floats) -> Floats:
    """Return embeddings, float32 [N, D], scaled to length 1; zeros stay zeros."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    scaled: Floats = embeddings / np.maximum(lengths, np.float32(SMALLEST_LENGTH))
    return scaled


def centre(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return images [N, H, W, 3] cropped to their middle of this height and width."""
    top, left = ((have - want) // 2 for have, want in zip(images.shape[1:3], size, strict=True))
    return images[:, top : top + size[0], left : left + size[1]]


def normalised(images: NDArray[np.uint8], spec: EncoderSpec) -> Floats:
    """Return images uint8 [N, H, W, 3] in the form that a graph with float input reads, float32 [N, 3, H, W]."""
    pixels = images.astype(np.float32) / np.float32(255)
    mean, std = (np.array(values, np.float32) for values in (spec.mean, spec.std))
    scaled = (pixels - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)


def _open(graph: Path, spec: EncoderSpec, device: Device, threads: int) -> Any:
    """Return the graph as an ``onnxruntime.InferenceSession``, made from the very bytes whose SHA-256 is checked."""
    content = graph.read_bytes()
    if hashlib.sha256(content).hexdigest() != spec.sha256:
        raise UserError(f"The encoder {graph} changed while it was read; try again.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = LOG_LEVEL
    chosen = [(name, PROVIDER_OPTIONS[name]) for name in providers_for(device)]
    try:
        return onnxruntime.InferenceSession(content, options, providers=chosen)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises a dozen types of its own
        reason = str(error).splitlines()[0]
        raise UserError(
            f"The encoder {graph} cannot be loaded ({reason}); it must be an ONNX graph in a single file."
        ) from None


def _image_port(graph: Path, session: Any) -> Any:
    """Return the single input of a graph, after checking that it can be an encoder."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    fits = len(inputs) == len(outputs) == 1 and inputs[0].type in (BYTES, FLOATS) and outputs[0].type == FLOATS
    if not fits:
        found = ", ".join(f"{port.name} {port.type}" for port in (*inputs, *outputs))
        raise UserError(
            f"The encoder {graph} has {found}, but must read one input, uint8 [N, H, W, 3] or float32 [N, 3, H, W], "
            "and write one output, float32 [N, D]."
        )
    return inputs[0]


def _joined(texts: Any) -> str:
    """Return the distinct texts, joined by semicolons."""
    return "; ".join(dict.fromkeys(texts))
