"""The bundle's ONNX graphs: gate, experts, mixture and its conditional form, all reading raw uint8 images."""

import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from clustnet.bundles.bundle import CONDITIONAL, GATE, MIXTURE, expert_graph
from clustnet.bundles.calibration import MIN_PROBABILITY
from clustnet.bundles.predictor import CONDITIONAL_OUTPUTS, OUTPUTS, Predictions
from onnx_export.confidence import Confidence, chosen_expert, deciding_logits, features, log_odds
from onnx_export.front import Front
from onnx_export.graph_files import BATCH, save_graph
from training.models.experts import free_logits
from training.models.inference import Images, batches
from training.models.mixture import GatedExperts, MixtureOfExperts, coarse_probability


class Gate(nn.Module):
    """The gate: ``image`` uint8 [N, ...] -> ``routing`` float32 [N, E]."""

    def __init__(self, model: GatedExperts) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Return the routing distribution."""
        return self.model.gate(image)


class Expert(nn.Module):
    """One expert: ``image`` uint8 [N, ...] -> ``coarse_probability`` float32 [N, K]."""

    def __init__(self, model: GatedExperts, index: int) -> None:
        super().__init__()
        self.model, self.index = model, index

    def forward(self, image: Tensor) -> Tensor:
        """Return one expert's distribution over the coarse labels."""
        return self.model.expert(self.index, image)


class Mixture(nn.Module):
    """The whole model with its class map; the outputs are those of ``clustnet.bundles.predictor.Predictions``.

    With weights w (the routing, or its one-hot maximum if ``hard``), the experts' distributions p over the coarse
    labels, class map M and temperature T: ``coarse_k = sum_e w_e p_ek`` and ``class = softmax(ln q / T)`` of
    ``q_c = sum_e sum_k w_e p_ek M[e,k,c]``.

    Args:
        model: the trained mixture.
        class_map: float [E, K, C], rows summing to 1.
        hard: whether one expert alone decides.
        temperature: above 0; 1 leaves q as it is.
        confidence: how similar an image is to the training images, from its features.
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
        routing, probability = output.log_routing.exp(), coarse_probability(output.expert_logit)
        weights = one_hot(chosen_expert(routing), routing.shape[1]) if self.hard else routing
        coarse, classes = self.combine(weights, probability)
        confidence = self.confidence(features(embeddings, deciding_logits(self.model, output, self.hard)))
        return coarse, routing, probability, classes, confidence

    def combine(self, weights: Tensor, probability: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distributions over the coarse labels, [N, K], and over the classes, [N, C].

        Args:
            weights: float32 [N, E] the experts' weights.
            probability: float32 [N, E, K] the experts' distributions, or [N, 1, K] that of the one expert that decides.
        """
        cells = weights.unsqueeze(2) * probability
        mixed = cells.flatten(1) @ self.class_map.flatten(0, 1)
        classes = (mixed.clamp(min=MIN_PROBABILITY).log() / self.temperature).softmax(dim=1)
        return cells.sum(dim=1), classes


class Conditional(nn.Module):
    """A ``Mixture`` with hard routing in which each expert runs only for the images that it decides.

    The conditional computation of Bengio, Leonard, Courville, "Estimating or Propagating Gradients Through Stochastic
    Neurons for Conditional Computation", arXiv:1308.3432.

    Args:
        mixture: the whole model; one expert alone decides.
        model: its trained part.
    """

    def __init__(self, mixture: Mixture, model: MixtureOfExperts) -> None:
        super().__init__()
        self.mixture, self.model = mixture, model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the arrays of ``Predictions`` without the experts' probabilities, in its order."""
        mixture, model = self.mixture, self.model
        pixels = model.normalise(image)
        embeddings = model.encoder(pixels)
        routing = model.head(embeddings).log_softmax(dim=1).exp()
        chosen = chosen_expert(routing)
        logits = self._chosen_logits(chosen, embeddings if model.shared else pixels)
        probability = coarse_probability(logits).unsqueeze(1)
        coarse, classes = mixture.combine(one_hot(chosen, routing.shape[1]), probability)
        return coarse, routing, classes, mixture.confidence(features(embeddings, log_odds(logits)))

    def _chosen_logits(self, chosen: Tensor, evidence: Tensor) -> Tensor:
        """Return the free logits of each image's chosen expert, float32 [N, L]; an expert may have no image at all."""
        # len() would fix the number of images in the graph.
        logits = evidence.new_zeros(evidence.shape[0], free_logits(self.model.label_count))
        if logits.shape[1] == 0:
            return logits
        for index, expert in enumerate(self.model.experts):
            images = (chosen == index).nonzero().squeeze(1)
            logits = logits.index_put((images,), expert(evidence[images]))
        return logits


def one_hot(chosen: Tensor, experts: int) -> Tensor:
    """Return the experts' weights, float32 [N, E]: 1 for the chosen expert, int64 [N], and 0 for all others."""
    return nn.functional.one_hot(chosen, experts).float()


@torch.no_grad()
def predict(mixture: Mixture, images: Images) -> Predictions:
    """Return torch's predictions for images uint8 [N, ...] or embeddings; the mixture is in evaluation mode."""
    parts = [mixture(part) for part in batches(images)]
    return Predictions(*(torch.cat(arrays).numpy() for arrays in zip(*parts, strict=True)))


def write_graphs(
    folder: Path, model: GatedExperts, mixture: Mixture, shape: tuple[int, ...], encoder: Front | None = None
) -> None:
    """Write ``gate.onnx``, ``experts/expert_I.onnx`` and ``mixture.onnx`` with a dynamic batch.

    If one expert alone decides and learns, write ``conditional.onnx`` as well.

    Args:
        folder: the bundle's folder.
        model: the trained mixture, in evaluation mode on the CPU.
        mixture: the same model with its class map.
        shape: the shape of one image, or of one embedding if there is an encoder.
        encoder: what goes before every graph, so that it reads images.
    """
    example = torch.zeros((2, *shape), dtype=torch.float32 if encoder else torch.uint8)
    (folder / "experts").mkdir()
    write_graph(folder / GATE, Gate(model), ["routing"], example)
    _write_experts(folder, model, len(mixture.class_map), example)
    write_graph(folder / MIXTURE, mixture, OUTPUTS, example)
    if mixture.hard and isinstance(model, MixtureOfExperts):
        write_graph(folder / CONDITIONAL, Conditional(mixture, model), CONDITIONAL_OUTPUTS, example)
    if encoder:
        encoder.put_before(folder)


def _write_experts(folder: Path, model: GatedExperts, count: int, example: Tensor) -> None:
    """Write the graph of each expert; experts that do not learn share one if their coarse label is the same."""
    of_label: dict[int, Path] = {}
    for index in range(count):
        path, label = folder / expert_graph(index), None
        if not model.experts_learn:
            label = int(model.cluster_labels[index])
        if label in of_label:
            shutil.copyfile(of_label[label], path)
            continue
        write_graph(path, Expert(model, index), ["coarse_probability"], example)
        if label is not None:
            of_label[label] = path


def write_graph(path: Path, module: nn.Module, outputs: list[str], example: Tensor) -> None:
    """Write the graph of one module with a dynamic batch and check it with onnx's own checker.

    Args:
        path: the file.
        module: the module, on the CPU; its only input is ``image``, or ``embedding`` if the example is of floats.
        outputs: the names of what it returns.
        example: two images uint8 [2, ...] or embeddings float32 [2, D].
    """
    name = "embedding" if example.is_floating_point() else "image"
    save_graph(path, module, {name: example}, outputs, {0: BATCH})
