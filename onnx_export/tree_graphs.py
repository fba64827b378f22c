"""The graphs of a network that grew: ``mixture.onnx`` with all modules, ``conditional.onnx`` with those on the way."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from clustnet.bundles.bundle import CONDITIONAL, MIXTURE, SHARED_WEIGHTS
from clustnet.bundles.predictor import CONDITIONAL_OUTPUTS, OUTPUTS, TREE_OUTPUT, Predictions
from clustnet.bundles.tree import ROOT as NO_PARENT
from clustnet.encoders import Embeds
from onnx_export.front import Front
from onnx_export.graphs import write_graph
from training.grow.hierarchy import ROOT, Labels
from training.grow.network import Block, GrownNetwork, pooled

BATCH_IMAGES = 256


class TreeGraph(nn.Module):
    """The whole model: ``image`` uint8 [N, ...] or embeddings -> the arrays of ``Predictions``, in its order.

    The probability of a label is the product of those on the way to it. It is not summed again from the labels
    below, so that it has the same bits whatever was added there.

    Args:
        network: the network, in evaluation mode.
        confidence: maps the pooled features of the root's module, float32 [N, D], to confidences, float32 [N].
    """

    leaves: Tensor
    highest: Tensor
    leaf_coarse: Tensor

    def __init__(self, network: GrownNetwork, confidence: nn.Module) -> None:
        super().__init__()
        self.network, self.confidence = network, confidence
        leaves, highest = leaves_of(network), highest_of(network)
        self.register_buffer("leaves", torch.tensor(leaves))
        self.register_buffer("highest", torch.tensor(highest))
        own = [network.labels[leaf][0] for leaf in leaves]
        names = [network.labels[label][0] for label in highest]
        self.register_buffer("leaf_coarse", torch.eye(len(names))[[names.index(name) for name in own]])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the arrays of ``Predictions``; each leaf counts as an expert and as a subtype."""
        network = self.network
        stem = network.stem(network.normalise(image))
        maps: dict[Labels, Tensor] = {}
        logits: dict[Labels, Tensor] = {}
        for node in network.learnt:
            module = network.module_of(node)
            maps[node] = module.block(stem if node == ROOT else maps[node[:-1]])
            logits[node] = module.logits(maps[node])
        label, leaf = self.labels(logits)
        coarse_of_leaf = self.leaf_coarse.unsqueeze(0).expand(label.shape[0], -1, -1)
        confidence = self.confidence(pooled(maps[ROOT]))
        return label[:, self.highest], leaf, coarse_of_leaf, leaf, confidence, label

    def labels(self, logits: dict[Labels, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the probabilities of all labels, float32 [N, M], and of the leaves, float32 [N, C]."""
        label = self.network.label_probability(logits)
        return label, label[:, self.leaves]


class ConditionalTree(nn.Module):
    """A ``TreeGraph`` in which a module runs only for the images whose way leads through its node.

    Below a node off that way, no module runs, so the node's probability is shared equally.

    Args:
        tree: the whole model.
    """

    def __init__(self, tree: TreeGraph) -> None:
        super().__init__()
        self.tree = tree

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the arrays of ``Predictions`` without the experts' probabilities, in its order."""
        network = self.tree.network
        stem = network.stem(network.normalise(image))
        root = network.module_of(ROOT)
        maps = {ROOT: root.block(stem)}
        own = {ROOT: root.logits(maps[ROOT])}
        logits = dict(own)
        places: dict[Labels, Tensor] = {}
        children = {module.node: module.children for module in network.spec.modules}
        for node in network.learnt[1:]:
            parent, module = node[:-1], network.module_of(node)
            chosen = (own[parent].argmax(dim=1) == children[parent].index(node[-1])).nonzero().squeeze(1)
            places[node] = chosen if parent == ROOT else places[parent][chosen]
            maps[node] = module.block(maps[parent][chosen])
            own[node] = module.logits(maps[node])
            alike = stem.new_zeros(stem.shape[0], len(children[node]))
            logits[node] = alike.index_put((places[node],), own[node])
        label, leaf = self.tree.labels(logits)
        return label[:, self.tree.highest], leaf, leaf, self.tree.confidence(pooled(maps[ROOT])), label


def fused(network: GrownNetwork) -> GrownNetwork:
    """Return a copy whose batch normalisations are part of the layers before them.

    torch's exporter cannot tell whether a batch normalisation gets any image; in a ``ConditionalTree`` it may get none.
    """
    copied = deepcopy(network).eval()
    if isinstance(copied.stem, nn.Sequential):
        layers: list[Any] = list(copied.stem)
        copied.stem = nn.Sequential(fuse_conv_bn_eval(layers[0], layers[1]), layers[2])
    for node in copied.learnt:
        block = copied.module_of(node).block
        layer, fuse = (
            ("convolution", fuse_conv_bn_eval) if isinstance(block, Block) else ("linear", fuse_linear_bn_eval)
        )
        for number in "12":
            own, norm = getattr(block, layer + number), getattr(block, f"norm{number}")
            setattr(block, layer + number, fuse(own, norm))
            setattr(block, f"norm{number}", nn.Identity())
    return copied


def leaves_of(network: GrownNetwork) -> list[int]:
    """Return the places of the leaves among the network's labels: those without a module of their own."""
    return [place for place, label in enumerate(network.labels) if label not in network.learnt]


def highest_of(network: GrownNetwork) -> list[int]:
    """Return the places of the highest labels among the network's labels."""
    return [place for place, parent in enumerate(network.parents) if parent == NO_PARENT]


@torch.no_grad()
def predict_tree(tree: TreeGraph, images: Tensor) -> Predictions:
    """Return torch's predictions for raw images or embeddings."""
    parts = [tree(part) for part in torch.split(images, BATCH_IMAGES)]
    return Predictions(*(torch.cat(arrays).numpy() for arrays in zip(*parts, strict=True)))


def write_tree_graphs(folder: Path, tree: TreeGraph, images: Tensor, encoder: Embeds | None) -> None:
    """Write ``mixture.onnx`` and ``conditional.onnx`` with a dynamic batch.

    Args:
        folder: the bundle's folder.
        tree: the whole model, in evaluation mode.
        images: raw images or embeddings, the first two of which serve as the example.
        encoder: what goes before the graphs, so that they read images.
    """
    example = images[:2].clone()
    tree = TreeGraph(fused(tree.network), tree.confidence).eval()
    write_graph(folder / MIXTURE, tree, [*OUTPUTS, TREE_OUTPUT], example)
    write_graph(folder / CONDITIONAL, ConditionalTree(tree), [*CONDITIONAL_OUTPUTS, TREE_OUTPUT], example)
    if encoder is not None:
        (folder / SHARED_WEIGHTS).parent.mkdir()
        Front.of(encoder).put_before(folder)
