import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from clustnet.bundles.groups import CoarseGrouping
from clustnet.datasets import LabelledImages
from tests.training.tiny import coarse, same_state, tiny_recipe
from training.data.data import hide_fine_labels
from training.losses.mutual_information import group_mutual_information
from training.losses.routing_terms import routing_diversity, routing_entropy
from training.methods.clustnet.method import ClustNetMethod
from training.methods.method import DivergedError, EpochLosses
from training.models.build import build_network
from training.models.inference import route
from training.models.spec import read_spec
from training.runs.loop import EpochProgress

T = TypeVar("T")


def method(mnist_train: LabelledImages, keys: Mapping[str, Any] | None = None, images: int = 200) -> ClustNetMethod:
    return ClustNetMethod(coarse(mnist_train, images), tiny_recipe(keys), Accelerator())


def trained(mnist_train: LabelledImages, keys: Mapping[str, Any] | None = None, images: int = 200) -> ClustNetMethod:
    trainee = method(mnist_train, keys, images)
    list(trainee.run(0, EpochProgress(0, 9)))
    return trainee


def snapshot(trainee: ClustNetMethod) -> dict[str, Tensor]:
    """Copy every weight: those of the decoder by the name ``decoder.*``."""
    parts = {"": trainee.model} | ({"decoder.": trainee.decoder} if trainee.decoder else {})
    return {
        prefix + name: parameter.detach().clone()
        for prefix, module in parts.items()
        for name, parameter in module.named_parameters()
    }


def moved(trainee: ClustNetMethod, before: dict[str, Tensor]) -> set[str]:
    """Return the parts (encoder, head, experts, decoder) whose weights differ from those ``before``."""
    now = snapshot(trainee)
    return {name.partition(".")[0] for name in now if not torch.equal(now[name], before[name])}


DISCOVERY = {
    "partition.epochs": 1,
    "partition.images": 60,
    "augmentation.rotation": 10,
    "loss.mutual_information": 1.0,
    "loss.shares": "partition",
    "model.batch_norm": True,
    "optimisation.schedule": "cosine",
    "optimisation.average_over": 0.5,
    "optimisation.epoch_steps": 6,
    "optimisation.precision": "bfloat16",
}


@pytest.mark.parametrize(
    "keys", [{}, {"routing": "hard", "pretraining.epochs": 1, "optimisation.optimizer": "sgd"}, DISCOVERY]
)
def test_seed_decides_every_weight(mnist_train: LabelledImages, keys: dict[str, Any]) -> None:
    states = []
    for seed in (1, 1, 2):
        # What the caller has drawn before makes no difference, and what it draws next is what it would have drawn.
        torch.manual_seed(len(states))
        states.append(trained(mnist_train, keys | {"seed": seed}).state())
        after = torch.rand(3)
        torch.manual_seed(len(states) - 1)
        assert torch.equal(after, torch.rand(3))
    assert same_state(states[0], states[1])
    assert not same_state(states[0]["model"], states[2]["model"])


@pytest.mark.parametrize("expert", ["linear", "shared"])
@pytest.mark.parametrize(
    ("period", "turns"),
    [
        (0, [{"encoder", "head", "experts"}] * 4),
        (1, [{"encoder", "head"}, {"experts"}] * 2),
        (2, [{"encoder", "head"}] * 2 + [{"experts"}] * 2),
    ],
)
def test_gate_and_experts_move_in_their_turns_alone(
    mnist_train: LabelledImages, expert: str, period: int, turns: list[set[str]]
) -> None:
    trainee = method(
        mnist_train,
        {"model.expert": expert, "optimisation.batch_period": period, "optimisation.epochs": 1},
    )
    seen, before = [], snapshot(trainee)

    def watch(batches: Any, total: int) -> Any:
        nonlocal before
        for index, batch in enumerate(batches):
            if index:
                seen.append(moved(trainee, before))
                before = snapshot(trainee)
            yield batch
        seen.append(moved(trainee, before))

    list(trainee.run(0, watch))
    assert seen == turns


def test_pretraining_lowers_the_autoencoders_error(mnist_train: LabelledImages) -> None:
    trainee = method(mnist_train, {"pretraining.epochs": 3, "optimisation.epochs": 1})
    before, run, epochs = snapshot(trainee), trainee.run(0, EpochProgress(0, 9)), []
    for _ in range(3):
        epochs.append(next(run))
    assert moved(trainee, before) == {"encoder", "decoder"}
    assert [(epoch.epoch, epoch.stage) for epoch in epochs] == [(1, "pretrain"), (2, "pretrain"), (3, "pretrain")]
    assert epochs[0].loss > epochs[1].loss > epochs[2].loss
    before = snapshot(trainee)
    assert next(run)[:2] == (4, "train")
    assert moved(trainee, before) == {"encoder", "head", "experts"}
    assert next(run, None) is None


def test_loss_is_the_mean_over_images(mnist_train: LabelledImages) -> None:
    keys = {"optimisation.epochs": 1, "optimisation.learning_rate": 1e-30, "optimisation.optimizer": "sgd"}
    losses = [
        next(method(mnist_train, keys | {"optimisation.batch_size": size}).run(0, EpochProgress(0, 9))).loss
        for size in (200, 150)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("routing", ["soft", "hard"])
@pytest.mark.parametrize("period", [0, 2])
def test_coarse_labels_are_learnt(mnist_train: LabelledImages, routing: str, period: int) -> None:
    keys = {"routing": routing, "optimisation.epochs": 8, "optimisation.batch_period": period}
    keys |= {"optimisation.batch_size": 20, "optimisation.learning_rate": 3e-3}
    model = trained(mnist_train, keys, images=400).model
    routed = route(model, mnist_train.images[400:], hard=routing == "hard")
    # Chance is 0.5; these images were not trained on.
    assert (routed.coarse_probability.argmax(axis=1) == mnist_train.coarse[400:]).mean() > 0.75


def term(mnist_train: LabelledImages, keys: dict[str, Any], of: Any) -> float:
    """Train with a weight on one of the terms and return the term."""
    model = trained(mnist_train, keys | {"optimisation.learning_rate": 1e-2, "optimisation.epochs": 4}).model
    return float(of(model(torch.from_numpy(mnist_train.images[:200].copy())).log_routing).detach())


@pytest.mark.parametrize("routing", ["soft", "hard"])
def test_positive_entropy_weight_makes_gate_decide(mnist_train: LabelledImages, routing: str) -> None:
    unsure, plain, sure = (
        term(mnist_train, {"routing": routing, "loss.routing_entropy": weight}, routing_entropy)
        for weight in (-3.0, 0.0, 3.0)
    )
    assert unsure > plain > sure


@pytest.mark.parametrize("routing", ["soft", "hard"])
def test_positive_diversity_weight_spreads_images(mnist_train: LabelledImages, routing: str) -> None:
    collapsed, spread = (
        term(mnist_train, {"routing": routing, "loss.routing_diversity": weight}, routing_diversity)
        for weight in (-3.0, 3.0)
    )
    assert spread > collapsed + 0.5


@pytest.mark.parametrize("keys", [{"pretraining.epochs": 1, "optimisation.epochs": 2, "routing": "hard"}, DISCOVERY])
def test_restored_method_ends_with_the_same_weights(mnist_train: LabelledImages, keys: dict[str, Any]) -> None:
    first = method(mnist_train, keys)
    run, states = first.run(0, EpochProgress(0, 9)), []
    for _ in run:
        states.append({name: _copy(value) for name, value in first.state().items()})
    for start in (1, 2):
        second = method(mnist_train, keys)
        second.restore(states[start - 1])
        numbers = [losses.epoch for losses in second.run(start, EpochProgress(0, 9))]
        assert numbers == list(range(start + 1, 4))
        assert same_state(second.state(), states[-1])


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("routing", ["soft", "hard"])
def test_divergence_stops_with_what_to_lower(mnist_train: LabelledImages, routing: str) -> None:
    keys = {"routing": routing, "optimisation.optimizer": "sgd", "optimisation.learning_rate": 1e30}
    with pytest.raises(DivergedError, match=re.escape("The training diverged")) as caught:
        trained(mnist_train, keys)
    assert "lower optimisation.learning_rate" in str(caught.value)


def test_epochs_are_those_of_both_stages(mnist_train: LabelledImages) -> None:
    trainee = method(mnist_train, {"pretraining.epochs": 2, "optimisation.epochs": 3})
    assert trainee.epochs == 5
    assert isinstance(next(trainee.run(4, EpochProgress(0, 9))), EpochLosses)


def test_imitation_teaches_gate_partition(mnist_train: LabelledImages) -> None:
    keys = {
        "partition.epochs": 20,
        "partition.images": 60,
        "optimisation.epochs": 1,
        "optimisation.learning_rate": 0.01,
    }
    trainee = method(mnist_train, keys)
    for losses in trainee.run(0, EpochProgress(0, 9)):
        if losses.stage == "train":
            break
        routing = route(trainee.model, mnist_train.images[:200], hard=False).routing
    assert trainee.partition is not None
    assert (routing[trainee.partition.indices].argmax(axis=1) == trainee.partition.experts).mean() > 0.9


def test_labels_may_have_other_numbers_of_clusters(mnist_train: LabelledImages) -> None:
    keys = {"partition.epochs": 1, "partition.images": 60, "partition.clusters": {"0-4": 2}, "optimisation.epochs": 1}
    trainee = method(mnist_train, keys)
    next(trainee.run(0, EpochProgress(0, 9)))
    assert trainee.partition is not None
    coarse = trainee.data.coarse.numpy()[trainee.partition.indices]
    assert [len(np.unique(trainee.partition.experts[coarse == label])) for label in (0, 1)] == [2, 3]


def test_partition_alone_teaches_gate_to_imitate(mnist_train: LabelledImages) -> None:
    keys = {"partition.epochs": 1, "partition.images": 60}
    first, other = method(mnist_train, keys), method(mnist_train, keys)
    next(first.run(0, EpochProgress(0, 9)))
    other._keep(first.state()["partition"])
    other.data = replace(other.data, coarse=1 - other.data.coarse)
    next(other.run(0, EpochProgress(0, 9)))
    assert moved(other, snapshot(first)) == {"experts"}


def test_imitation_sees_as_many_images_as_training(mnist_train: LabelledImages) -> None:
    trainee = method(mnist_train, {"partition.epochs": 1, "partition.images": 60, "optimisation.epochs": 1})
    seen: list[int] = []

    def watch(batches: Iterable[T], total: int) -> Iterable[T]:
        for batch in batches:
            seen.extend(batch.tolist())
            yield batch

    next(trainee.run(0, watch))
    assert trainee.partition is not None
    assert len(seen) == len(trainee.data.images)
    assert set(seen) == set(trainee.partition.indices.tolist())


def test_mutual_information_makes_two_views_agree(mnist_train: LabelledImages) -> None:
    keys = {"optimisation.epochs": 8, "optimisation.learning_rate": 0.005, "augmentation.rotation": 20}
    informations = []
    for weight in (0.0, 2.0):
        trainee = trained(mnist_train, keys | {"loss.mutual_information": weight})
        with torch.no_grad():
            views = [trainee.network.route(trainee._view(torch.arange(200))).log_routing.exp() for _ in range(2)]
        informations.append(float(group_mutual_information(*views, trainee.data.coarse)))
    assert informations[1] > informations[0] + 0.1


def test_average_is_moving_average_of_steps(mnist_train: LabelledImages) -> None:
    trainee = method(mnist_train, {"optimisation.average_over": 1.0, "optimisation.epochs": 1})
    expected = {name: weight.clone() for name, weight in trainee.network.state_dict().items()}
    for chosen in trainee.data.batches(50, torch.Generator().manual_seed(0)):
        trainee._route(0, chosen)
        for name, weight in trainee.network.state_dict().items():
            expected[name] = 0.75 * expected[name] + 0.25 * weight
    for name, weight in trainee.model.state_dict().items():
        torch.testing.assert_close(weight, expected[name])


@pytest.mark.parametrize("images", [60, 200])
def test_average_spans_share_of_steps(mnist_train: LabelledImages, images: int) -> None:
    keys = {"optimisation.average_over": 0.25, "optimisation.epochs": 10, "optimisation.epoch_steps": 4}
    assert method(mnist_train, keys, images)._decay == pytest.approx(1 - 1 / 10)


@pytest.mark.parametrize(("images", "expected"), [(60, 7), (100, 7), (400, 8)])
def test_few_images_make_as_many_steps(mnist_train: LabelledImages, images: int, expected: int) -> None:
    keys = {"optimisation.epoch_steps": 7, "optimisation.epochs": 1, "partition.epochs": 1, "partition.images": 20}
    trainee, steps = method(mnist_train, keys, images), list[int]()

    def watch(batches: Iterable[T], total: int) -> Iterable[T]:
        steps.append(total)
        return batches

    list(trainee.run(0, watch))
    assert steps == [expected] * 2


def test_expected_shares_are_those_of_partition(mnist_train: LabelledImages) -> None:
    keys = {"loss.shares": "partition", "loss.mutual_information": 0.3, "augmentation.shift": 0.1}
    trainee = method(mnist_train, keys | {"partition.epochs": 1, "partition.images": 60})
    next(trainee.run(0, EpochProgress(0, 9)))
    assert trainee.partition is not None
    assert trainee._shares is not None
    coarse = trainee.data.coarse.numpy()[trainee.partition.indices]
    for label, shares in enumerate(trainee._shares.numpy()):
        counts = np.bincount(trainee.partition.experts[coarse == label], minlength=3)
        np.testing.assert_allclose(shares, (counts + 1) / (counts.sum() + 3), rtol=1e-6)


def test_cosine_schedule_ends_near_nothing(mnist_train: LabelledImages) -> None:
    trainee = trained(mnist_train, {"optimisation.schedule": "cosine", "optimisation.learning_rate": 0.01})
    steps = 2 * 4  # epochs x batches
    expected = 0.01 * (1 + math.cos(math.pi * (steps - 1) / steps)) / 2
    assert trainee.optimizers["gate"].param_groups[0]["lr"] == pytest.approx(expected)


def test_decoder_exists_only_for_pretraining(mnist_train: LabelledImages) -> None:
    for epochs in (0, 1):
        trainee = method(mnist_train, {"pretraining.epochs": epochs})
        assert (trainee.decoder is not None) == bool(epochs)
        assert ("decoder" in trainee.state()) == ("autoencoder" in trainee.state()) == bool(epochs)


def test_sides_need_not_be_divisible_by_four(mnist_train: LabelledImages) -> None:
    few = mnist_train.first(40)
    odd = replace(few, images=few.images[:, :27, :25])
    trainee = ClustNetMethod(
        hide_fine_labels(odd), tiny_recipe({"pretraining.epochs": 1, "optimisation.epochs": 1}), Accelerator()
    )
    assert [losses.stage for losses in trainee.run(0, EpochProgress(0, 9))] == ["pretrain", "train"]


@pytest.mark.parametrize("expert", ["linear", "shared"])
def test_three_labels_are_learnt(mnist_train: LabelledImages, expert: str) -> None:
    groups = CoarseGrouping(("a", "b", "c"), ((0, 1, 2), (3, 4, 5), (6, 7, 8, 9)))
    data = hide_fine_labels(mnist_train.grouped(groups))
    keys = {"model.expert": expert, "optimisation.epochs": 8, "optimisation.learning_rate": 3e-3}
    trainee = ClustNetMethod(data, tiny_recipe(keys | {"optimisation.batch_size": 20}), Accelerator())
    list(trainee.run(0, EpochProgress(0, 9)))
    routed = route(trainee.model, mnist_train.images, hard=False)
    assert routed.coarse_probability.shape == (600, 3)
    assert (routed.coarse_probability.argmax(axis=1) == data.coarse.numpy()).mean() > 0.7


def test_single_label_trains_the_gate_alone(mnist_train: LabelledImages) -> None:
    data = hide_fine_labels(mnist_train.first(100).grouped(CoarseGrouping.whole(10)))
    keys = {"loss.mutual_information": 1.0, "augmentation.shift": 0.1, "data.coarse": None}
    trainee = ClustNetMethod(data, tiny_recipe(keys), Accelerator())
    before = snapshot(trainee)
    list(trainee.run(0, EpochProgress(0, 9)))
    assert moved(trainee, before) == {"encoder", "head"}
    assert list(trainee.optimizers) == ["gate"]


def test_spec_rebuilds_the_scored_model(mnist_train: LabelledImages) -> None:
    state = trained(mnist_train, {"optimisation.average_over": 0.5}).state()
    network = build_network(read_spec(state["network"]))
    network.load_state_dict(state["model"])
    assert not same_state(state["model"], state["trained"])
