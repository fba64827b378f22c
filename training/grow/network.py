"""The network that grows: a stem, and for each learnt node a module of one residual block and one head.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016. A new block at first passes on what its
parent computes, as in Chen, Goodfellow, Shlens, "Net2Net", ICLR 2016: its shortcut repeats the parent's channels, and
its residual branch starts at zero.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from clustnet.bundles.tree import ROOT as TREE_ROOT
from training.grow.hierarchy import ROOT, Labels
from training.models.embedding_mixture import unit
from training.models.encoder import Normalise
from training.recipe.parts import Count, Part


class ModuleSpec(Part):
    """A learnt node and the labels of its children, in the order of its logits."""

    node: Labels
    children: Annotated[tuple[str, ...], Field(min_length=2)]


class GrownSpec(Part):
    """Everything from which a network is rebuilt.

    Args:
        image_shape: shape of one raw image, (H, W) or (H, W, C); None where embeddings are read.
        mean: mean of each channel, for pixels scaled to 0..1.
        std: standard deviation of each channel, likewise.
        features: D, length of an embedding; None where images are read.
        encoder: name of the encoder.
        sha256: SHA-256 of its graph.
        width: see ``training.grow.config.Network``.
        modules: modules in the order in which they were added.
    """

    image_shape: tuple[Count, Count] | tuple[Count, Count, Count] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    features: Count | None = None
    encoder: str | None = None
    sha256: str | None = None
    width: Count = 16
    modules: tuple[ModuleSpec, ...] = ()


class Block(nn.Module):
    """A residual block that halves the image and doubles the channels: [N, C, H, W] -> [N, 2C, H/2, W/2]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(2 * channels)
        self.convolution2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * channels)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's maps; a side of one pixel stays one."""
        halved = avg_pool2d(maps, 2, ceil_mode=True)
        branch: Tensor = self.norm2(self.convolution2(relu(self.norm1(self.convolution1(maps)))))
        return relu(torch.cat([halved, halved], dim=1) + branch)


class DenseBlock(nn.Module):
    """A residual block on embeddings: [N, D] -> [N, D]; with no pixels to trade for channels, D stays the same."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(features, hidden, bias=False)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.linear2 = nn.Linear(hidden, features, bias=False)
        self.norm2 = nn.BatchNorm1d(features)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the block's features."""
        branch: Tensor = self.norm2(self.linear2(relu(self.norm1(self.linear1(rows)))))
        return rows + branch


class UnitScale(nn.Module):
    """Embeddings float32 [N, D] -> the same directions with a mean square of 1; the stem after an encoder."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the scaled embeddings."""
        scaled: Tensor = unit(embeddings) * embeddings.shape[1] ** 0.5
        return scaled


class NodeModule(nn.Module):
    """What tells the children of one node apart: a block, and a head on its pooled features."""

    def __init__(self, block: nn.Module, features: int, children: int) -> None:
        super().__init__()
        self.block = block
        self.head = nn.Linear(features, children)

    def logits(self, maps: Tensor) -> Tensor:
        """Return the logits of the children, float32 [N, children], from the block's maps."""
        result: Tensor = self.head(pooled(maps))
        return result


def pooled(maps: Tensor) -> Tensor:
    """Return the mean over all places of maps [N, C, H, W] of any size; rows [N, C] stay as they are."""
    return maps if maps.dim() == 2 else maps.mean(dim=(2, 3))


class GrownNetwork(nn.Module):
    """A tree of modules; each reads the output of its parent's module, and the root's reads that of the stem.

    The network is in evaluation mode, except for what ``training.grow.modes.set_training`` puts into training mode.

    Args:
        spec: what the network is built from, including its modules.
    """

    def __init__(self, spec: GrownSpec) -> None:
        super().__init__()
        self.spec = spec.model_copy(update={"modules": ()})
        if spec.image_shape is None:
            self.normalise: nn.Module = nn.Identity()
            self.stem: nn.Module = UnitScale()
        else:
            self.normalise = Normalise(spec.mean, spec.std)
            channels = spec.image_shape[2] if len(spec.image_shape) == 3 else 1
            self.stem = nn.Sequential(
                nn.Conv2d(channels, spec.width, 3, padding=1, bias=False), nn.BatchNorm2d(spec.width), nn.ReLU()
            )
        # Not named "modules", which torch's modules have already.
        self.nodes = nn.ModuleList()
        self._place: dict[Labels, int] = {}
        self.eval()
        for module in spec.modules:
            self.grow(module.node, module.children)

    def grow(self, node: Labels, children: Sequence[str]) -> None:
        """Add the module of a node whose parent has one.

        Raises:
            ValueError: the node has a module already, or its parent has none.
        """
        if node in self._place or (node != ROOT and node[:-1] not in self._place):
            raise ValueError(f"{node} is already learnt, or its parent is not")
        if self.spec.features is None:
            channels = self.spec.width * 2 ** len(node)
            module = NodeModule(Block(channels), 2 * channels, len(children))
        else:
            features = self.spec.features
            module = NodeModule(DenseBlock(features, self.spec.width), features, len(children))
        self._place[node] = len(self.nodes)
        # Channels last makes convolutions faster; until it is trained, the module must keep its statistics.
        module.to(memory_format=torch.channels_last)
        self.nodes.append(module.eval())
        added = ModuleSpec(node=node, children=tuple(children))
        self.spec = self.spec.model_copy(update={"modules": (*self.spec.modules, added)})

    def forget_last(self) -> None:
        """Remove the module that was added last."""
        *kept, last = self.spec.modules
        del self._place[last.node]
        self.nodes = self.nodes[: len(kept)]
        self.spec = self.spec.model_copy(update={"modules": tuple(kept)})

    @property
    def learnt(self) -> tuple[Labels, ...]:
        """The nodes that have a module, in the order in which they were added."""
        return tuple(self._place)

    def module_of(self, node: Labels) -> NodeModule:
        """Return the module of a learnt node."""
        module = self.nodes[self._place[node]]
        assert isinstance(module, NodeModule)  # noqa: S101 - for the type checker
        return module

    def path(self, node: Labels) -> list[NodeModule]:
        """Return the modules that run for a learnt node after the stem, from the root's to its own."""
        return [self.module_of(node[:depth]) for depth in range(len(node) + 1)]

    def forward(self, images: Tensor, node: Labels) -> Tensor:
        """Return the logits of a node's children, float32 [N, children], for raw images or embeddings."""
        return self.logits(self.normalise(images), node)

    def logits(self, pixels: Tensor, node: Labels) -> Tensor:
        """Return the same as ``forward`` for normalised images, float32 [N, C, H, W], or embeddings."""
        modules, maps = self.path(node), self.stem(pixels)
        for module in modules:
            maps = module.block(maps)
        return modules[-1].logits(maps)

    def logits_of(self, pixels: Tensor, members: Mapping[Labels, Tensor]) -> dict[Labels, Tensor]:
        """Return the logits of several nodes, each for some of the images; what they share is computed once.

        Args:
            pixels: N normalised images or embeddings.
            members: indices of each node's images among the N, int64 [M], ascending.
        """
        here = self._needed(members, len(pixels))
        stem = self.stem(pixels)
        maps: dict[Labels, Tensor] = {}
        # Parents were added before their children.
        for node in self.learnt:
            if node not in here:
                continue
            above, places = (maps[node[:-1]], here[node[:-1]]) if node else (stem, torch.arange(len(pixels)))
            # Where all are needed, this saves a copy.
            some = above if len(here[node]) == len(places) else above[torch.searchsorted(places, here[node])]
            maps[node] = self.module_of(node).block(some)
        return {
            node: self.module_of(node).logits(maps[node])[torch.searchsorted(here[node], places)]
            for node, places in members.items()
        }

    @staticmethod
    def _needed(members: Mapping[Labels, Tensor], images: int) -> dict[Labels, Tensor]:
        """Return the images that the block of each node has to read, for itself or for nodes below."""
        masks: dict[Labels, Tensor] = {}
        for node, places in members.items():
            for depth in range(len(node) + 1):
                masks.setdefault(node[:depth], torch.zeros(images, dtype=torch.bool))[places] = True
        return {node: mask.nonzero().squeeze(1) for node, mask in masks.items()}

    def all_logits(self, pixels: Tensor) -> dict[Labels, Tensor]:
        """Return the logits of every learnt node for all images."""
        return self.logits_of(pixels, dict.fromkeys(self.learnt, torch.arange(len(pixels))))

    @property
    def labels(self) -> tuple[Labels, ...]:
        """All M children of learnt nodes, module by module."""
        return tuple((*module.node, child) for module in self.spec.modules for child in module.children)

    @property
    def parents(self) -> tuple[int, ...]:
        """The index of each label's parent among ``labels``, as ``clustnet.bundles.tree.walk`` takes them."""
        place = {label: number for number, label in enumerate(self.labels)}
        return tuple(place.get(label[:-1], TREE_ROOT) for label in self.labels)

    def label_probability(self, logits: Mapping[Labels, Tensor]) -> Tensor:
        """Return the probability of each of ``labels``, float32 [N, M]: the product of those on the path to it.

        Args:
            logits: logits of every learnt node, float32 [N, children].
        """
        found: dict[Labels, Tensor] = {}
        columns = []
        for module in self.spec.modules:
            own = logits[module.node].softmax(dim=1)
            # The root's probability is 1, so its children need no product.
            product = own if module.node == ROOT else own * found[module.node]
            for number, child in enumerate(module.children):
                found[*module.node, child] = product[:, number : number + 1]
            columns.append(product)
        return torch.cat(columns, dim=1)


def state_of(network: GrownNetwork) -> dict[str, Any]:
    """Return spec and weights as tensors and plain values."""
    return {"network": network.spec.model_dump(mode="json"), "model": network.state_dict()}


def network_of(state: Mapping[str, Any]) -> GrownNetwork:
    """Return the network that ``state_of`` described, in evaluation mode."""
    network = GrownNetwork(GrownSpec.model_validate(state["network"]))
    network.load_state_dict(state["model"])
    return network.eval()
