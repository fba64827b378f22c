"""The bundle's ONNX graphs: gate, experts, mixture and its conditional form, all reading raw uint8 images."""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clustnet.bundles.bundle import CONDITIONAL, GATE, MIXTURE, expert_graph
from clustnet.bundles.calibration import LEAST_PROBABILITY
from clustnet.bundles.predictor import CONDITIONAL_OUTPUTS, OUTPUTS, Predictions
from onnx_export.confidence import Confidence, chosen_expert, deciding_logits, features
from training.models.inference import batches
from training.models.mixture import GatedExperts, MixtureOfExperts

OPSET = 18


class Gate(nn.Module):
    """``image`` uint8 [N, ...] -> ``routing`` float32 [N, E]."""

    def __init__(self, model: GatedExperts) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Return the routing distribution."""
        return self.model.gate(image)


class Expert(nn.Module):
    """``image`` uint8 [N, ...] -> ``positive_probability`` float32 [N]."""

    def __init__(self, model: GatedExperts, index: int) -> None:
        super().__init__()
        self.model, self.index = model, index

    def forward(self, image: Tensor) -> Tensor:
        """Return one expert's probability of the positive coarse label."""
        return self.model.expert(self.index, image)


class Mixture(nn.Module):
    """The whole model with its class map; the outputs are those of ``clustnet.bundles.predictor.Predictions``.

    With weights w (the routing, or its one-hot maximum if ``hard``), expert probabilities p, class map M and
    temperature T: ``positive = sum_e w_e p_e`` and ``class = softmax(ln q / T)`` of
    ``q_c = sum_e w_e (p_e M[e,1,c] + (1 - p_e) M[e,0,c])``.

    Args:
        model: the trained mixture.
        class_map: float [E, K, C], rows summing to 1; K is 1 where there are no coarse labels, and p is 0.
        hard: whether one expert alone decides.
        temperature: above 0; 1 leaves q as it is.
        confidence: tells from the features of an image how like the training images it is.
    """

    class_map: Tensor

    def __init__(
        self, model: GatedExperts, class_map: Tensor, hard: bool, temperature: float, confidence: Confidence
    ) -> None:
        super().__init__()
        self.model, self.hard = model, hard
        self.temperature, self.confidence = temperature, confidence
        self.register_buffer("class_map", class_map.float())

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the arrays of ``Predictions``, in its order."""
        pixels = self.model.normalise(image)
        embeddings = self.model.encoder(pixels)
        output = self.model.route_embedded(pixels, embeddings)
        routing, probability = output.log_routing.exp(), output.expert_logit.sigmoid()
        weights = one_hot(chosen_expert(routing), routing.shape[1]) if self.hard else routing
        positive, classes = self.combine(weights, probability)
        confidence = self.confidence(features(embeddings, deciding_logits(self.model, output, self.hard)))
        return positive, routing, probability, classes, confidence

    def combine(self, weights: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positive probability, [N], and the class probabilities, [N, C].

        Args:
            weights: float32 [N, E] the experts' weights.
            probability: float32 [N, E] the experts' probabilities, or [N, 1] that of the one expert that decides.
        """
        positive = weights * probability
        mixed = positive @ self.class_map[:, -1] + (weights - positive) @ self.class_map[:, 0]
        classes = (mixed.clamp(min=LEAST_PROBABILITY).log() / self.temperature).softmax(dim=1)
        return positive.sum(dim=1), classes


class Conditional(nn.Module):
    """What a ``Mixture`` of hard routing says, with each expert asked only about the images that it decides.

    The conditional computation of Bengio, Leonard, Courville, "Estimating or Propagating Gradients Through Stochastic
    Neurons for Conditional Computation", arXiv:1308.3432.

    Args:
        mixture: the whole model; one expert alone decides.
    """

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        assert isinstance(mixture.model, MixtureOfExperts)  # noqa: S101 - no other method has hard routing
        self.mixture, self.model = mixture, mixture.model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the arrays of ``Predictions`` but for the experts' probabilities, in its order."""
        mixture, model = self.mixture, self.model
        pixels = model.normalise(image)
        embeddings = model.encoder(pixels)
        routing = model.head(embeddings).log_softmax(dim=1).exp()
        chosen = chosen_expert(routing)
        logit = self._ask(chosen, embeddings if model.shared else pixels)
        positive, classes = mixture.combine(one_hot(chosen, routing.shape[1]), logit.sigmoid())
        return positive, routing, classes, mixture.confidence(features(embeddings, logit))

    def _ask(self, chosen: Tensor, evidence: Tensor) -> Tensor:
        """Return the logit of each image's chosen expert, float32 [N, 1]; an expert may have no image at all."""
        logit = evidence.new_zeros(evidence.shape[0], 1)  # len() would fix the number of images in the graph
        for index, expert in enumerate(self.model.experts):
            images = (chosen == index).nonzero().squeeze(1)
            logit = logit.index_put((images,), expert(evidence[images]))
        return logit


def one_hot(chosen: Tensor, experts: int) -> Tensor:
    """Return the weights, float32 [N, E], of the experts that were chosen, int64 [N]."""
    return nn.functional.one_hot(chosen, experts).float()


@torch.no_grad()
def predict(mixture: Mixture, images: NDArray[np.uint8]) -> Predictions:
    """Return what torch says of images uint8 [N, ...]; the mixture is in evaluation mode."""
    parts = [mixture(part) for part in batches(images)]
    return Predictions(*(torch.cat(arrays).numpy() for arrays in zip(*parts, strict=True)))


def write_graphs(folder: Path, model: GatedExperts, mixture: Mixture, image_shape: tuple[int, ...]) -> None:
    """Write ``gate.onnx``, ``experts/expert_I.onnx`` and ``mixture.onnx`` with a dynamic batch.

    If one expert alone decides, write ``conditional.onnx`` as well.

    Args:
        folder: the bundle's folder.
        model: the trained mixture, in evaluation mode on the CPU.
        mixture: the same with its class map.
        image_shape: shape of one image.
    """
    (folder / "experts").mkdir()
    write_graph(folder / GATE, Gate(model), ["routing"], image_shape)
    for index in range(len(mixture.class_map)):
        write_graph(folder / expert_graph(index), Expert(model, index), ["positive_probability"], image_shape)
    write_graph(folder / MIXTURE, mixture, OUTPUTS, image_shape)
    if mixture.hard:
        write_graph(folder / CONDITIONAL, Conditional(mixture), CONDITIONAL_OUTPUTS, image_shape)


def write_graph(path: Path, module: nn.Module, outputs: list[str], image_shape: tuple[int, ...]) -> None:
    """Trace one module that reads ``image`` and check the graph with onnx's own checker.

    Args:
        path: the file.
        module: on the CPU.
        outputs: the names of what it returns.
        image_shape: shape of one image.
    """
    example = torch.zeros((2, *image_shape), dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own internals
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=outputs,
            dynamic_shapes={"image": {0: torch.export.Dim("N")}},
            verbose=False,
        )
    if program is None:
        raise RuntimeError(f"torch wrote no graph for {path.name}")
    onnx.save(_without_traces(program.model_proto), path)
    onnx.checker.check_model(path, full_check=True)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the exporter's notes, which hold stack traces with the paths of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model
