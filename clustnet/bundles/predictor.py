"""Inference with onnxruntime over a checked bundle."""

import ctypes
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from threading import Timer
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from clustnet.bundles.bundle import CONDITIONAL, GATE, MIXTURE, Bundle, Manifest, expert_graph
from clustnet.errors import UserError

Device = Literal["auto", "cpu", "cuda"]
Experts = Literal["all", "chosen"]
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
# Images in one inference, which bounds its memory.
BATCH_IMAGES = {CPU: 256, CUDA: 1024}
# On a GPU, float32 products stay float32, as TensorFloat-32 changes probabilities by a thousandth. cuDNN chooses its
# convolutions by a heuristic, as trying them all takes 0.14 s for each new number of images.
PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    CPU: {},
    CUDA: {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
}
# The limit for the first two images of a model, which take the longest.
TRIAL_SECONDS = 20.0
# The limit for the runs that only make later ones fast.
WARM_UP_SECONDS = 3.0
# onnxruntime's log level "error", which hides its warnings.
LOG_LEVEL = 3


@dataclass(frozen=True)
class Predictions:
    """The outputs of ``mixture.onnx`` or ``conditional.onnx`` for N images, all float32.

    Args:
        coarse_probability: [N, K] probability of each coarse label.
        routing: [N, E] routing distribution.
        expert_probability: [N, E, K] each expert's distribution over the coarse labels; [N, 0, K] from
            ``conditional.onnx``, which does not run every expert.
        class_probability: [N, C] probability of each subtype, calibrated.
        confidence: [N] similarity of each image to the training images, above 0 and up to 1; see
            ``Manifest.abstention``.
        label_probability: [N, M] probability of each label of a tree, including inner ones; [0, 0] without a tree.
    """

    coarse_probability: NDArray[np.float32]
    routing: NDArray[np.float32]
    expert_probability: NDArray[np.float32]
    class_probability: NDArray[np.float32]
    confidence: NDArray[np.float32]
    label_probability: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def are_finite(self) -> bool:
        """Return whether every number is finite."""
        # A sum of squares is finite if all numbers are, and takes half as long as checking each of them.
        return all(math.isfinite(np.vdot(array, array)) for array in vars(self).values())


# An additional output of the graphs of a bundle with a tree.
TREE_OUTPUT = "label_probability"
OUTPUTS = [one.name for one in fields(Predictions) if one.name != TREE_OUTPUT]
CONDITIONAL_OUTPUTS = [name for name in OUTPUTS if name != "expert_probability"]


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return the concatenation of one or more predictions."""
    return Predictions(*(np.concatenate([getattr(part, name) for part in parts]) for name in (*OUTPUTS, TREE_OUTPUT)))


class Predictor:
    """A bundle loaded into onnxruntime.

    Args:
        bundle: the checked bundle.
        device: ``auto`` uses CUDA where it works and the CPU elsewhere; ``cuda`` requests CUDA, and ``provider`` says
            whether it is used, as onnxruntime falls back to the CPU silently.
        threads: threads inside one inference; 1 is fastest on a few cores, 0 uses all cores.
        experts: ``all`` runs ``mixture.onnx``; ``chosen`` runs ``conditional.onnx``, which for each image runs only
            the expert that decides, or the modules on the way through a tree.

    Raises:
        UserError: a graph cannot be read, or its inputs or outputs do not match the manifest; or ``chosen`` was given
            for a bundle that has soft routing or lacks ``conditional.onnx``.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto", threads: int = 1, experts: Experts = "all") -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        graph = MIXTURE
        if experts == "chosen":
            _check_conditional(bundle)
            graph = CONDITIONAL
        signatures = _signatures(self.manifest)
        # By name, the shapes after the batch dimension.
        self.outputs = signatures.pop(graph)
        for name, outputs in signatures.items():
            _check_signature(name, open_graph(bundle.path(name), [CPU]), self.manifest, outputs)
        self._session = open_graph(bundle.path(graph), providers_for(device), threads)
        _check_signature(graph, self._session, self.manifest, self.outputs)
        self.provider: str = self._session.get_providers()[0]

    def predict(
        self,
        images: NDArray[np.uint8],
        batch_size: int | None = None,
        options: onnxruntime.RunOptions | None = None,
    ) -> Predictions:
        """Return the predictions for N images of the bundle's input shape.

        Args:
            images: uint8 ``[N, *input shape]``, 0 to 255.
            batch_size: images in one inference, which bounds the memory; by default 256, or 1,024 on a GPU.
            options: onnxruntime's run options; setting ``terminate`` ends the inference with an error.

        Raises:
            UserError: the images have another shape or dtype.
        """
        expected = tuple(self.manifest.input.shape)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise UserError(
                f"The model reads uint8 images of {list(expected)}, "
                f"but got {images.dtype} images of {list(images.shape[1:])}."
            )
        size = batch_size or BATCH_IMAGES[self.provider]
        starts = range(0, max(len(images), 1), size)
        parts = [self._predict(images[i : i + size], options) for i in starts]
        return parts[0] if len(parts) == 1 else joined(parts)

    def try_out(self) -> None:
        """Run the model once, on a black image and a random one, before it answers anybody.

        The first run is slow, and a graph that loads may still fail to run, or run only on a single image.

        Raises:
            UserError: the run fails or takes longer than ``TRIAL_SECONDS``, or its outputs are not finite or not of the
                manifest's shapes.
        """
        random = np.random.default_rng(0).integers(0, 256, self.manifest.input.shape, np.uint8)
        images = np.stack([np.zeros_like(random), random])
        fault = None
        with _ended_after(TRIAL_SECONDS) as options:
            try:
                fault = self._fault(self._predict(images, options), len(images))
            except Exception as error:  # noqa: BLE001 - onnxruntime raises a dozen types of its own
                late = f"it takes over {TRIAL_SECONDS:g} seconds for two images"
                fault = late if options.terminate else str(error).splitlines()[0]
        if fault:
            raise UserError(f"The model in {self.bundle.folder} does not run ({fault}); export it again.")

    def warm_up(self, images: int) -> None:
        """Run the model on 1 and on ``images`` images, as the first run of each size is slow; ends after some seconds.

        Args:
            images: the largest number of images in one request.
        """
        random = np.random.default_rng(0).integers(0, 256, self.manifest.input.shape, np.uint8)
        with _ended_after(WARM_UP_SECONDS) as options:
            for size in (1, min(images, BATCH_IMAGES[self.provider])):
                # A slow model is served all the same.
                with suppress(Exception):
                    self._predict(np.broadcast_to(random, (size, *random.shape)), options)

    def _fault(self, outputs: Predictions, images: int) -> str | None:
        """Return what is wrong with the outputs for ``images`` images, or None."""
        for name, shape in self.outputs.items():
            found = list(getattr(outputs, name).shape)
            if found != [images, *shape]:
                return f"its output {name} has the shape {found}, not {[images, *shape]}"
        return None if outputs.are_finite() else "its outputs are not all finite numbers"

    def _predict(self, images: NDArray[np.uint8], options: onnxruntime.RunOptions | None = None) -> Predictions:
        found = self._session.run(list(self.outputs), {"image": images}, options)
        arrays = dict(zip(self.outputs, found, strict=True))
        none = np.empty((len(images), 0, len(self.manifest.coarse_labels)), np.float32)
        return Predictions(**{"expert_probability": none} | arrays)


def providers_for(device: Device) -> list[str]:
    """Return the execution providers to request from onnxruntime, best first."""
    if device == "cpu" or not _has_nvidia_driver() or CUDA not in onnxruntime.get_available_providers():
        return [CPU]
    if hasattr(onnxruntime, "preload_dlls"):
        # Finds the CUDA libraries that pip installed.
        onnxruntime.preload_dlls()
    return [CUDA, CPU]


def open_graph(path: Path, providers: list[str], threads: int = 1) -> Any:
    """Return an ONNX graph opened as an ``onnxruntime.InferenceSession``.

    Raises:
        UserError: the file is not a graph that this onnxruntime can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = LOG_LEVEL
    chosen = [(name, PROVIDER_OPTIONS[name]) for name in providers]
    try:
        return onnxruntime.InferenceSession(path, options, providers=chosen)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises a dozen types of its own
        reason = str(error).splitlines()[0]
        raise UserError(f"The graph {path} cannot be loaded ({reason}); export the bundle again.") from None


@contextmanager
def _ended_after(seconds: float) -> Iterator[onnxruntime.RunOptions]:
    """Yield options with which a run ends with an error if it takes longer than this."""
    options = onnxruntime.RunOptions()
    timer = Timer(seconds, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()


def _has_nvidia_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _check_conditional(bundle: Bundle) -> None:
    """Check that a single expert decides, and that the bundle has the graph that runs only this expert."""
    if bundle.manifest.tree is not None:
        return
    if bundle.manifest.routing != "hard":
        fault = "has soft routing, where every expert counts"
        raise UserError(f"The bundle {bundle.folder} {fault}; set CLUSTNET_EXPERTS to all.")
    if CONDITIONAL not in bundle.manifest.files:
        fault = f"has no {CONDITIONAL}, which runs only the chosen expert"
        raise UserError(f"The bundle {bundle.folder} {fault}; export the run again, or set CLUSTNET_EXPERTS to all.")


def _signatures(manifest: Manifest) -> dict[str, dict[str, list[int]]]:
    """Return the outputs of each of the bundle's graphs and their shapes after the batch dimension."""
    experts, coarse, classes = [manifest.experts], [len(manifest.coarse_labels)], [len(manifest.subtypes)]
    mixture = dict(zip(OUTPUTS, (coarse, experts, experts + coarse, classes, []), strict=True))
    if manifest.tree is not None:
        mixture[TREE_OUTPUT] = [len(manifest.tree)]
    conditional = {name: mixture[name] for name in mixture if name in (*CONDITIONAL_OUTPUTS, TREE_OUTPUT)}
    if manifest.tree is not None:
        return {MIXTURE: mixture, CONDITIONAL: conditional}
    return {
        GATE: {"routing": experts},
        **{expert_graph(index): {"coarse_probability": coarse} for index in range(manifest.experts)},
        MIXTURE: mixture,
        **({CONDITIONAL: conditional} if CONDITIONAL in manifest.files else {}),
    }


def _check_signature(name: str, session: Any, manifest: Manifest, outputs: dict[str, list[int]]) -> None:
    """Compare inputs and outputs (name, type, shape after the batch dimension) with the manifest's."""
    found = [(port.name, port.type, port.shape[1:]) for port in (*session.get_inputs(), *session.get_outputs())]
    expected = [("image", "tensor(uint8)", list(manifest.input.shape))]
    expected += [(output, "tensor(float)", shape) for output, shape in outputs.items()]
    for actual, wanted in zip(found, expected, strict=False):
        if actual != wanted:
            difference = f"has {_described(actual)}, but the manifest expects {_described(wanted)}"
            raise UserError(f"{name} {difference}; export the bundle again.")
    if len(found) != len(expected):
        raise UserError(f"{name} has {len(found)} inputs and outputs, not {len(expected)}; export the bundle again.")


def _described(port: tuple[str, str, list[int]]) -> str:
    """Return a readable form of an input or output (name, type, shape after the batch dimension)."""
    name, kind, shape = port
    return f"{name} {kind} {['N', *shape]}".replace("'", "")
