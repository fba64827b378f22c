"""Inference with onnxruntime over a checked bundle."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from clustnet.bundle import GATE, MIXTURE, Bundle, Manifest
from clustnet.errors import UserError

Device = Literal["auto", "cpu", "cuda"]
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
WARNINGS_AND_WORSE_HIDDEN = 3  # onnxruntime's log level "error"


@dataclass(frozen=True)
class Predictions:
    """The outputs of ``mixture.onnx`` for N images, all float32.

    Args:
        positive_probability: [N] probability of the positive coarse label.
        routing: [N, E] routing distribution.
        expert_probability: [N, E] each expert's probability of the positive coarse label.
        class_probability: [N, C] probability of each fine class, calibrated.
        confidence: [N] how like the training images an image is, above 0 to 1; see ``Manifest.abstention``.
    """

    positive_probability: NDArray[np.float32]
    routing: NDArray[np.float32]
    expert_probability: NDArray[np.float32]
    class_probability: NDArray[np.float32]
    confidence: NDArray[np.float32]


OUTPUTS = [field.name for field in fields(Predictions)]


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of all parts, at least one, as one."""
    return Predictions(*(np.concatenate([getattr(part, name) for part in parts]) for name in OUTPUTS))


class Predictor:
    """A bundle loaded into onnxruntime.

    Args:
        bundle: the checked bundle.
        device: ``auto`` takes CUDA where it works and the CPU elsewhere; ``cuda`` asks for CUDA, and
            ``provider`` tells whether it came, as onnxruntime falls back to the CPU in silence.
        threads: threads inside one inference; 1 is fastest on a few cores, 0 takes all cores.

    Raises:
        UserError: a graph that cannot be read or whose inputs or outputs are not the bundle's.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto", threads: int = 1) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        _check_parts(bundle)
        self._session = open_graph(bundle.path(MIXTURE), providers_for(device), threads)
        _check_signature(MIXTURE, self._session, self.manifest, _mixture_outputs(self.manifest))
        self.provider: str = self._session.get_providers()[0]

    def predict(self, images: NDArray[np.uint8], batch_size: int = 256) -> Predictions:
        """Predict N images of the bundle's input shape.

        Args:
            images: uint8 [N, *input shape], 0 to 255.
            batch_size: images in one inference, which bounds the memory.

        Raises:
            UserError: images of another shape or dtype.
        """
        expected = tuple(self.manifest.input.shape)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise UserError(
                f"The model reads uint8 images of {list(expected)}, "
                f"but got {images.dtype} images of {list(images.shape[1:])}."
            )
        starts = range(0, max(len(images), 1), batch_size)
        parts = [Predictions(*self._session.run(OUTPUTS, {"image": images[i : i + batch_size]})) for i in starts]
        return parts[0] if len(parts) == 1 else joined(parts)


def providers_for(device: Device) -> list[str]:
    """Return the execution providers to ask onnxruntime for, best first."""
    wants_cuda = device == "cuda" or (device == "auto" and _has_nvidia_driver())
    if not wants_cuda or CUDA not in onnxruntime.get_available_providers():
        return [CPU]
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
    return [CUDA, CPU]


def open_graph(path: Path, providers: list[str], threads: int = 1) -> Any:
    """Open an ONNX graph as an ``onnxruntime.InferenceSession``.

    Raises:
        UserError: the file is not a graph that this onnxruntime can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = WARNINGS_AND_WORSE_HIDDEN
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises a dozen types of its own
        reason = str(error).splitlines()[0]
        raise UserError(f"The graph {path} cannot be loaded ({reason}); export the bundle again.") from None


def _has_nvidia_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _check_parts(bundle: Bundle) -> None:
    """Check the graphs that the mixture was composed of; they are opened once and let go."""
    manifest = bundle.manifest
    gate, *experts = [name for name in manifest.graphs() if name != MIXTURE]
    _check_signature(gate, open_graph(bundle.path(GATE), [CPU]), manifest, {"routing": [manifest.experts]})
    for name in experts:
        _check_signature(name, open_graph(bundle.path(name), [CPU]), manifest, {"positive_probability": []})


def _mixture_outputs(manifest: Manifest) -> dict[str, list[int]]:
    experts, classes = [manifest.experts], [len(manifest.fine_classes)]
    return dict(zip(OUTPUTS, ([], experts, experts, classes, []), strict=True))


def _check_signature(name: str, session: Any, manifest: Manifest, outputs: dict[str, list[int]]) -> None:
    """Compare inputs and outputs (name, type, shape after the batch dimension) with the manifest's."""
    found = [(put.name, put.type, put.shape[1:]) for put in (*session.get_inputs(), *session.get_outputs())]
    expected = [("image", "tensor(uint8)", list(manifest.input.shape))]
    expected += [(output, "tensor(float)", shape) for output, shape in outputs.items()]
    for is_, should in zip(found, expected, strict=False):
        if is_ != should:
            raise UserError(f"{name} has {_put(is_)} where the manifest wants {_put(should)}; export the bundle again.")
    if len(found) != len(expected):
        raise UserError(f"{name} has {len(found)} inputs and outputs, not {len(expected)}; export the bundle again.")


def _put(put: tuple[str, str, list[int]]) -> str:
    name, kind, shape = put
    return f"{name} {kind} {['N', *shape]}".replace("'", "")
