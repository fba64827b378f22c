"""The three faults that a growing network must not have, and what each mode trains."""

import numpy as np
import pytest
import torch
from torch.nn.functional import kl_div

from tests.training.grow.made import all_answers, images_of, recipe_of
from training.grow.hierarchy import Labels
from training.grow.learning import Learner, add_node, learner_of, new_network, set_step_sizes
from training.grow.modes import distillation, step_multipliers
from training.grow.network import GrownNetwork

MODES = ("frozen", "lr_multipliers", "full", "replay", "lwf")
ANIMAL, CANINE = ("animal",), ("animal", "canine")


def learnt(network: GrownNetwork, node: Labels, mode: str, **keys: object) -> Learner:
    """Add a node to a network and learn it."""
    images, recipe = images_of(), recipe_of(mode=mode, **keys)
    add_node(network, images, node, recipe.seed)
    learner = learner_of(network, images, node, recipe, epochs=2)
    assert len(list(learner.run())) == 2
    return learner


def with_root() -> GrownNetwork:
    network = new_network(images_of(), 0)
    learnt(network, (), "full")
    return network


def test_frozen_parents_answer_bit_by_bit() -> None:
    network, images = with_root(), images_of()
    for node in (ANIMAL, CANINE):
        before = all_answers(network, images)
        statistics = {name: value.clone() for name, value in network.stem.state_dict().items()}
        learnt(network, node, "frozen")
        after = all_answers(network, images)
        assert all(torch.equal(after[old], before[old]) for old in before)
        assert all(torch.equal(value, network.stem.state_dict()[name]) for name, value in statistics.items())


@pytest.mark.parametrize("mode", MODES[1:])
def test_other_modes_move_the_parent(mode: str) -> None:
    network, images = with_root(), images_of()
    before = all_answers(network, images)
    head = network.module_of(()).head.weight.clone()
    learnt(network, ANIMAL, mode)
    assert not torch.equal(all_answers(network, images)[()], before[()])
    assert torch.equal(network.module_of(()).head.weight, head)


def test_modules_beside_the_path_never_change() -> None:
    network = with_root()
    learnt(network, ANIMAL, "full")
    learnt(network, CANINE, "full")
    own = {name: value.clone() for name, value in network.module_of(CANINE).state_dict().items()}
    network.grow(("animal", "feline"), ("a", "b"))
    learner = learner_of(network, images_of(), ANIMAL, recipe_of(mode="full"), 1)
    list(learner.run())
    assert all(torch.equal(value, network.module_of(CANINE).state_dict()[name]) for name, value in own.items())


@pytest.mark.parametrize("mode", MODES)
def test_new_module_is_always_optimised(mode: str) -> None:
    network = with_root()
    head = None
    images, recipe = images_of(), recipe_of(mode=mode)
    add_node(network, images, ANIMAL, 0)
    head = network.module_of(ANIMAL).head
    start = head.weight.detach().clone()
    learner = learner_of(network, images, ANIMAL, recipe, 1)
    optimised = {id(one) for group in learner.optimiser.param_groups for one in group["params"]}
    assert {id(one) for one in network.module_of(ANIMAL).parameters()} <= optimised
    list(learner.run())
    assert not torch.equal(head.weight, start)


def test_schedule_keeps_ratios_of_step_sizes() -> None:
    network, images = with_root(), images_of()
    add_node(network, images, ANIMAL, 0)
    learner = learner_of(network, images, ANIMAL, recipe_of(mode="lr_multipliers"), 3)
    seen = []
    for done in np.linspace(0, 0.999, 20):
        set_step_sizes(learner.optimiser, float(done))
        rates = [group["lr"] for group in learner.optimiser.param_groups]
        assert np.array(rates) / rates[-1] == pytest.approx([0.4, 0.65, 1.0])
        seen.append(rates[-1])
    assert 0 < min(seen) < max(seen) <= 0.1


def test_multipliers_fall_from_the_new_module() -> None:
    assert step_multipliers("frozen", (), 3) == [0, 0, 1]
    assert step_multipliers("full", (), 3) == [1, 1, 1]
    assert step_multipliers("lr_multipliers", (1, 0.65, 0.4), 5) == [0.4, 0.4, 0.4, 0.65, 1]


def test_distillation_equals_torch() -> None:
    torch.manual_seed(0)
    now, before = torch.randn(5, 3), torch.randn(5, 3)
    expected = kl_div((now / 2).log_softmax(1), (before / 2).softmax(1), reduction="batchmean")
    assert distillation([now], [before], 2.0).item() == pytest.approx(4 * expected.item(), rel=1e-5)
    assert distillation([before], [before], 2.0).item() == pytest.approx(0, abs=1e-6)


def test_lwf_moves_parents_less_than_full() -> None:
    moved = {}
    for mode in ("full", "lwf"):
        network, images = with_root(), images_of()
        before = all_answers(network, images)[()].softmax(1)
        learnt(network, ANIMAL, mode, **({"forgetting": {"weight": 10}} if mode == "lwf" else {}))
        moved[mode] = (all_answers(network, images)[()].softmax(1) - before).abs().mean().item()
    assert moved["lwf"] < moved["full"]
