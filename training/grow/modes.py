"""What learning a node does to the modules above it: which are trained, how fast, and what protects earlier nodes.

Only the path of the new node is trained: the stem, the modules of the nodes above it and its own. Heads of earlier
nodes and modules beside the path are never trained, but their inputs may change.

==============  =====================================================================================================
frozen          only the new module is trained
lr_multipliers  the step sizes fall from the new module up
full            the whole path is trained with the same step size
replay          as ``full``, and each step also learns from a few kept images of earlier nodes
lwf             as ``full``, and earlier nodes are held to the answers that they gave for the new images before (Li,
                Hoiem, "Learning without Forgetting", ECCV 2016)
==============  =====================================================================================================
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from torch.optim import SGD

from training.grow.config import GrowOptimisation, GrowRecipe, Mode
from training.grow.hierarchy import Labels
from training.grow.network import GrownNetwork

NAMES = {
    "frozen": "frozen",
    "lr_multipliers": "varying rates",
    "full": "conventional",
    "replay": "replay",
    "lwf": "learning without forgetting",
}


def step_multipliers(mode: Mode, multipliers: Sequence[float], modules: int) -> list[float]:
    """Return the factor of the step size for each part of a path, the stem first; 0 freezes the part.

    Args:
        mode: how the modules above are treated.
        multipliers: multipliers of ``lr_multipliers``, from the new module up; the last is for all above.
        modules: number of parts of the path, the stem included; at least 2.
    """
    if mode == "frozen":
        up = [1.0] + [0.0] * (modules - 1)
    elif mode == "lr_multipliers":
        up = [multipliers[min(distance, len(multipliers) - 1)] for distance in range(modules)]
    else:
        up = [1.0] * modules
    return up[::-1]


def optimiser_of(network: GrownNetwork, node: Labels, recipe: GrowRecipe) -> SGD:
    """Return the optimiser of the parameters that are trained for a node, with one group for each module.

    The ``peak`` of a group is its largest step size. All other parameters of the network are frozen.

    Args:
        network: a network that has the node's module already.
        node: the node that is learnt.
        recipe: gives mode, step size and momentum. The root's path, before which nothing was learnt, is always trained
            whole.
    """
    # Only the blocks of the modules above are trained, as their heads belong to nodes that were learnt before.
    *above, own = network.path(node)
    parts = [network.stem, *(module.block for module in above), own]
    rates = step_multipliers(recipe.mode if node else "full", recipe.forgetting.multipliers, len(parts))
    network.requires_grad_(False)
    groups = []
    for part, rate in zip(parts, rates, strict=True):
        parameters = list(part.requires_grad_(rate > 0).parameters())
        if rate > 0 and parameters:
            groups.append({"params": parameters, "peak": rate * recipe.optimisation.learning_rate})
    return sgd(groups, recipe.optimisation)


def sgd(groups: list[dict[str, Any]], settings: GrowOptimisation) -> SGD:
    """Return the optimiser of groups of parameters; the ``peak`` of each group is its largest step size."""
    nesterov = settings.momentum > 0
    return SGD(groups, lr=0.0, momentum=settings.momentum, nesterov=nesterov, weight_decay=settings.weight_decay)


def set_training(network: GrownNetwork) -> None:
    """Put what is trained into training mode, and all else into evaluation mode.

    The statistics of frozen batch normalisation thus stay as they are, and its module's outputs are the same bit for
    bit.
    """
    network.eval()
    for module in network.modules():
        if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
            module.train()


def distillation(found: Sequence[Tensor], before: Sequence[Tensor], temperature: float) -> Tensor:
    """Return how far the answers of earlier nodes have moved, in nats, summed over the nodes.

    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.

    Args:
        found: logits of each node, float32 [N, children].
        before: the same of the network before the new node was added.
        temperature: divides the logits; the loss is multiplied by its square.
    """
    losses = [
        kl_div(
            log_softmax(now / temperature, dim=1),
            log_softmax(then / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        for now, then in zip(found, before, strict=True)
    ]
    total: Tensor = sum(losses, start=found[0].new_zeros(())) * temperature**2
    return total
