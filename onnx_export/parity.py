"""Proof that the graphs compute what the trained model does."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clustnet.bundles.bundle import CONDITIONAL, GATE, MIXTURE, expert_graph
from clustnet.bundles.calibration import tempered
from clustnet.bundles.class_map import class_probability
from clustnet.bundles.predictor import CONDITIONAL_OUTPUTS, CPU, OUTPUTS, Predictions, open_graph
from clustnet.bundles.routing import coarse_probability, routing_weights
from onnx_export.graphs import Mixture

IMAGES = 1000
BATCH_SIZES = (1, 7, 256)
TOLERANCE = 1e-5

Arrays = dict[str, NDArray[np.floating]]


class ParityError(RuntimeError):
    """The graphs disagree with the trained model, so that no bundle is written."""


def check_parity(folder: Path, mixture: Mixture, images: NDArray[np.uint8], predicted: Predictions) -> float:
    """Return how far torch, the separate graphs, ``mixture.onnx`` and, if hard, ``conditional.onnx`` differ.

    Args:
        folder: the folder of the graphs.
        mixture: the trained model with its class map.
        images: uint8 [N, ...]; the first ``IMAGES`` are compared, in batches of each of ``BATCH_SIZES``.
        predicted: torch's predictions for the images.

    Returns:
        The largest absolute difference of any output.

    Raises:
        ParityError: a difference above ``TOLERANCE``.
    """
    chosen = images[:IMAGES]
    expected = {name: values[:IMAGES] for name, values in vars(predicted).items()}
    compared = _decided(expected["routing"]) if mixture.hard else np.full(len(chosen), True)
    worst = 0.0
    for size in BATCH_SIZES:
        for way, found, other, wanted in _comparisons(folder, mixture, chosen, size, expected):
            difference, name = _largest_difference(wanted, found, compared)
            if difference > TOLERANCE:
                raise ParityError(
                    f"{way} at batch size {size} differs from {other} by {difference:.2g} in {name}, "
                    f"more than {TOLERANCE:g}; no bundle was written."
                )
            worst = max(worst, difference)
    return worst


def _comparisons(
    folder: Path, mixture: Mixture, images: NDArray[np.uint8], size: int, expected: Arrays
) -> Iterator[tuple[str, Arrays, str, Arrays]]:
    """Yield comparisons: what computes some outputs, these outputs, what else computes them, and all its outputs."""
    whole = _mixture_outputs(folder, images, size)
    yield MIXTURE, whole, "torch", expected
    yield "gate and experts", _composed_outputs(folder, mixture, images, size), "torch", expected
    if (folder / CONDITIONAL).exists():
        conditional = _conditional_outputs(folder, images, size)
        yield CONDITIONAL, conditional, "torch", expected
        yield CONDITIONAL, conditional, MIXTURE, whole


def _decided(routing: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return whether one expert is clearly the best, bool [N]; if two tie within the tolerance, either is right."""
    if routing.shape[1] == 1:
        return np.full(len(routing), True)
    best = np.sort(routing, axis=1)[:, -2:]
    decided: NDArray[np.bool_] = best[:, 1] - best[:, 0] > 2 * TOLERANCE
    return decided


def _mixture_outputs(folder: Path, images: NDArray[np.uint8], size: int) -> Arrays:
    return run_graph(folder / MIXTURE, OUTPUTS, images, size)


def _conditional_outputs(folder: Path, images: NDArray[np.uint8], size: int) -> Arrays:
    return run_graph(folder / CONDITIONAL, CONDITIONAL_OUTPUTS, images, size)


def _composed_outputs(folder: Path, mixture: Mixture, images: NDArray[np.uint8], size: int) -> Arrays:
    """Return the outputs of gate and experts, run one by one and combined by the formula of ``Mixture``.

    The confidence is left out: its embeddings are only inside ``mixture.onnx``.
    """
    (routing,) = run_graph(folder / GATE, ["routing"], images, size).values()
    experts = range(routing.shape[1])
    name = "coarse_probability"
    each = [run_graph(folder / expert_graph(e), [name], images, size)[name] for e in experts]
    probability = np.stack(each, axis=1)
    weights = routing_weights(routing, mixture.hard)
    classes = class_probability(weights, probability, mixture.class_map.numpy())
    return {
        "coarse_probability": coarse_probability(weights, probability),
        "routing": routing,
        "expert_probability": probability,
        "class_probability": tempered(classes, mixture.temperature),
    }


def run_graph(path: Path, outputs: list[str], images: NDArray[np.uint8], size: int) -> Arrays:
    """Return the outputs of a graph, computed on the CPU, by their names.

    Args:
        path: the file of the graph.
        outputs: the names of the outputs.
        images: uint8 [N, ...].
        size: how many images are in one inference.
    """
    session = open_graph(path, [CPU])
    parts = [session.run(outputs, {"image": images[i : i + size]}) for i in range(0, len(images), size)]
    return {name: np.concatenate(arrays) for name, arrays in zip(outputs, zip(*parts, strict=True), strict=True)}


def _largest_difference(expected: Arrays, found: Arrays, compared: NDArray[np.bool_]) -> tuple[float, str]:
    differences = {name: np.nan_to_num(np.abs(expected[name] - found[name])[compared], nan=np.inf) for name in found}
    name = max(differences, key=lambda key: float(differences[key].max(initial=0.0)))
    return float(differences[name].max(initial=0.0)), name
