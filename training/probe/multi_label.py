"""Classification of photographs with several labels, from a trained network: the protocol of PASCAL VOC 2007.

As in Caron et al., arXiv:1807.05520, section 4.3: the last layers, or all of them, are trained on random crops, and the
answers for ten crops of a test image are averaged. The figure is the mean over the classes of the average precision.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import SGD
from torchvision.transforms.v2.functional import ten_crop

from clustnet.datasets.multi_label import PRESENT, UNCOUNTED, MultiLabelImages
from clustnet.errors import UserError
from training.engine.seeding import DrawingFrom, generator_of
from training.models.convnet_clusters import ConvNetClusters
from training.models.inference import evaluating
from training.models.spec import ImageSpec
from training.probe.activations import untrained
from training.runs.run_folder import RunFolder

EPOCHS, BATCH, RATE, MOMENTUM, DECAY = 20, 16, 0.01, 0.9, 1e-4
# The ratio of an image's shorter side to the side of a crop.
LARGER = 256 / 224
# Which layers are trained: the linear ones after the convolutions, as fc6 to fc8 of AlexNet, or all.
TUNED = ("fc", "all")


def image_side(folder: RunFolder) -> int:
    """Return the shorter side that images should have, in pixels, for crops of the size that a run's network reads.

    Raises:
        UserError: the run has no finished epoch, is not of ``deepcluster``, or reads images that are not square or not
            in colour.
    """
    spec = folder.spec()
    if not isinstance(folder.load_network(), ConvNetClusters) or not isinstance(spec, ImageSpec):
        raise UserError(f"{folder.path} is no run of deepcluster, whose layers this protocol trains; name one.")
    height, width, *channels = spec.image_shape
    if height != width or not channels:
        raise UserError(f"The network of {folder.path} reads {height}x{width} images, but needs squares in colour.")
    return round(height * LARGER)


def multi_label(
    folder: RunFolder, train: MultiLabelImages, test: MultiLabelImages, tuned: Sequence[str] = TUNED, seed: int = 0
) -> list[dict[str, Any]]:
    """Return the mean average precision of a network and of the same one untrained, one row per choice of layers.

    Args:
        folder: a finished run of ``deepcluster``.
        train: the images to learn from, whose shorter side is ``image_side``.
        test: the images to score.
        tuned: which layers are trained, ``fc`` or ``all``.
        seed: seeds everything random.
    """
    spec, rows = folder.spec(), []
    middles = np.stack([_middle(image) for image in train.images])
    before = untrained(spec, folder.recipe().seed, middles)
    for layers in tuned:
        row: dict[str, Any] = {"trained_layers": layers}
        for key, network in (("map", folder.load_network()), ("untrained_map", before)):
            assert isinstance(network, ConvNetClusters)  # noqa: S101 - by image_side
            side = round(min(train.images[0].shape[:2]) / LARGER)
            module = tune(network, train, layers, side, seed)
            row[key] = mean_average_precision(scores(module, test.images, side), test.labels)
        rows.append(row | {"classes": int((test.labels == PRESENT).any(axis=0).sum()), "images": len(test.images)})
    return rows


def tune(network: ConvNetClusters, train: MultiLabelImages, layers: str, side: int, seed: int) -> nn.Module:
    """Return the network with a classifier of its own, trained on random crops of ``side`` pixels and their flips."""
    encoder, generator = copy.deepcopy(network.encoder), generator_of(seed)
    module = nn.Sequential(copy.deepcopy(network.normalise), encoder, nn.ReLU())
    with DrawingFrom(generator):
        module.append(nn.Linear(network.encoder.features, len(train.classes)))
    frozen = encoder.convolutions if layers == "fc" else nn.Sequential()
    frozen.requires_grad_(False)
    optimizer = SGD([part for part in module.parameters() if part.requires_grad], RATE, MOMENTUM, weight_decay=DECAY)
    labels, steps = torch.from_numpy(train.labels), EPOCHS * math.ceil(len(train.images) / BATCH)
    order = [part for _ in range(EPOCHS) for part in torch.split(_shuffled(len(train.images), generator), BATCH)]
    for step, batch in enumerate(order):
        # A single image cannot be batch-normalised.
        if len(batch) == 1:
            continue
        module.train()
        frozen.eval()
        optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2
        logits = module(torch.stack([_random_crop(train.images[place], side, generator) for place in batch.tolist()]))
        counted = (labels[batch] != UNCOUNTED).float()
        wanted = (labels[batch] == PRESENT).float()
        loss = binary_cross_entropy_with_logits(logits, wanted, counted, reduction="sum") / len(batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return module


def scores(module: nn.Module, images: Sequence[NDArray[np.uint8]], side: int) -> NDArray[np.float32]:
    """Return the mean logits of ten crops of each image, its corners and centre with their flips, float32 [N, C]."""
    found = []
    with evaluating(module):
        for image in images:
            crops = ten_crop(torch.from_numpy(image.copy()).permute(2, 0, 1), [side, side])
            found.append(module(torch.stack(crops).permute(0, 2, 3, 1)).mean(dim=0))
    return torch.stack(found).numpy()


def mean_average_precision(found: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the mean of the average precision over the classes that any image has.

    Args:
        found: float32 [N, C], higher where an image is surer to have the class.
        labels: int64 [N, C]; entries that are ``UNCOUNTED`` are left out.
    """
    precisions = []
    for column, truth in zip(found.T, labels.T, strict=True):
        counted = truth != UNCOUNTED
        if (truth == PRESENT).any():
            precisions.append(average_precision_score(truth[counted] == PRESENT, column[counted]))
    return float(np.mean(precisions))


def _shuffled(images: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(images, generator=generator)


def _middle(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the centre crop of an image."""
    side = round(min(image.shape[:2]) / LARGER)
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _random_crop(image: NDArray[np.uint8], side: int, generator: torch.Generator) -> Tensor:
    """Return a square at a random place, flipped half of the time, uint8 [side, side, 3]."""
    top, left = (int(torch.randint(length - side + 1, (), generator=generator)) for length in image.shape[:2])
    square = torch.from_numpy(image[top : top + side, left : left + side].copy())
    return square.flip(1) if torch.rand((), generator=generator) < 0.5 else square
