"""Several processes train to what one process trains to: losses, gradients, weights, scores, files."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import mse_loss, nll_loss

from clustnet import cli
from clustnet.errors import UserError
from tests.training.team import together
from tests.training.tiny import noise, tiny_recipe, tiny_words
from training.data.data import CoarseData
from training.engine import collectives
from training.engine.collectives import average_gradients, gathered, share
from training.engine.processes import agreed, on_first, rank
from training.losses.mixture_likelihood import hard_mixture_nll, soft_mixture_nll
from training.losses.mutual_information import group_mutual_information
from training.losses.routing_terms import routing_diversity, routing_entropy
from training.methods.clustnet import method as clustnet
from training.methods.clustnet.method import ClustNetMethod
from training.methods.clustnet.partition import Partition
from training.methods.method import DivergedError
from training.models.batch_norm import BatchNorm1d, BatchNorm2d
from training.models.inference import route
from training.models.mixture import MixtureOfExperts, straight_through
from training.runs.loop import EpochProgress
from training.runs.restarts import train_restarts
from training.runs.run_folder import RunFolder

REPOSITORY = Path(__file__).resolve().parents[3]
EXPERTS = 3

LOSSES = {
    "soft likelihood": lambda routing, logit, coarse: soft_mixture_nll(routing, logit, coarse),
    "hard likelihood": lambda routing, logit, coarse: hard_mixture_nll(straight_through(routing), logit, coarse),
    "mutual information": lambda routing, logit, coarse: group_mutual_information(
        routing.exp(), logit[:, :, 0].softmax(dim=1), coarse
    ),
    "entropy": lambda routing, logit, coarse: routing_entropy(routing),
    "diversity": lambda routing, logit, coarse: routing_diversity(routing),
    "imitation": lambda routing, logit, coarse: nll_loss(routing, coarse),
    "reconstruction": lambda routing, logit, coarse: mse_loss(logit[:, :, 0], routing.detach()),
}


def losses_and_gradients(images: int, labels: int) -> dict[str, list[Tensor]]:
    """Return each loss of a random batch, sorted by label, and its gradient with respect to two maps of the images."""
    generator = torch.Generator().manual_seed(0)
    rows, free = torch.randn(images, 4, generator=generator), 1 if labels == 2 else labels
    coarse = torch.arange(images) * labels // images
    found = {}
    for name, loss in LOSSES.items():
        torch.manual_seed(1)
        maps = [nn.Parameter(torch.randn(4, EXPERTS * count, generator=generator)) for count in (1, free)]
        routing, logit = (gathered(share(rows) @ one, images) for one in maps)
        value = loss(routing.log_softmax(dim=1), logit.view(images, EXPERTS, free), coarse)
        value.backward()
        average_gradients(maps)
        found[name] = [value.detach(), *(one.grad for one in maps if one.grad is not None)]
    return found


# Even shares, uneven ones, and a process without images.
@pytest.mark.parametrize(("count", "images", "labels"), [(2, 16, 2), (2, 7, 3), (3, 2, 2)])
def test_losses_and_gradients_are_one_process_s(tmp_path: Path, count: int, images: int, labels: int) -> None:
    alone = losses_and_gradients(images, labels)
    for found in together(tmp_path, count, losses_and_gradients, images, labels):
        assert found.keys() == alone.keys()
        torch.testing.assert_close(found, alone, atol=1e-7, rtol=1e-5)


def two_views() -> Tensor:
    """Return the rows of seven images in two views, each multiplied by its own number as its gradient."""
    rows = torch.arange(14.0).reshape(2, 7, 1)
    mine = torch.stack([share(view) for view in rows]).flatten(0, 1).requires_grad_()
    whole = gathered(mine, images := 7, views=2)
    (whole * torch.arange(2.0 * images).unsqueeze(1)).sum().backward()
    assert mine.grad is not None
    return torch.cat([whole.detach(), gathered(mine.grad, images, views=2)], dim=1)


def test_views_are_gathered_in_batch_s_order(tmp_path: Path) -> None:
    for found in together(tmp_path, 2, two_views):
        assert found[:, 0].tolist() == list(range(14))
        # Once for each process.
        assert found[:, 1].tolist() == [2 * number for number in range(14)]


def normalised(images: int, low: bool) -> list[Tensor]:
    """Return what two layers make of a random batch, the gradients, and the running statistics."""
    torch.manual_seed(2)
    first, second = nn.Conv2d(2, 4, 3), nn.Linear(4 * 36, 5)
    norms = (BatchNorm2d(4), BatchNorm1d(5))
    layers = nn.Sequential(first, norms[0], nn.Flatten(), second, norms[1])
    batch = 5 + torch.randn(images, 2, 8, 8)
    # In float32: without AVX-512 torch adds up a convolution's bfloat16 gradients in bfloat16.
    maps = first(share(batch))
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        rows = gathered(layers[1:](maps.bfloat16() if low else maps).float(), images)
    (rows * torch.randn(images, 5)).sum().backward()
    average_gradients(layers.parameters())
    gradients = [part.grad for part in layers.parameters() if part.grad is not None]
    return [rows.detach(), *gradients, *layers.state_dict().values()]


@pytest.mark.parametrize(("count", "images", "low"), [(2, 9, False), (3, 2, False), (2, 64, True)])
def test_batch_normalisation_takes_whole_batch(tmp_path: Path, count: int, images: int, low: bool) -> None:
    near = {"atol": 0.5, "rtol": 0.05} if low else {"atol": 1e-4, "rtol": 1e-4}
    for found in together(tmp_path, count, normalised, images, low):
        torch.testing.assert_close(found, normalised(images, low), **near)


def test_batch_normalisation_alone_is_torch_s() -> None:
    ours, torchs, rows = BatchNorm2d(3), nn.BatchNorm2d(3), torch.randn(5, 3, 4, 4)
    assert torch.equal(ours(rows), torchs(rows))
    assert all(map(torch.equal, ours.state_dict().values(), torchs.state_dict().values()))


@given(st.integers(0, 40), st.integers(1, 9))
def test_shares_hold_every_row_once(rows: int, count: int) -> None:
    shares = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collectives, "processes", lambda: count)
        for number in range(count):
            patch.setattr(collectives, "rank", lambda: number)  # noqa: B023 - called at once
            shares.append(list(share(range(rows))))
    assert [row for part in shares for row in part] == list(range(rows))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


VIEWS = {f"augmentation.{key}": 0.1 for key in ("scale", "shear", "shift", "elastic")} | {"augmentation.rotation": 10}
DISCOVERY = VIEWS | {
    "partition.epochs": 1,
    "loss.mutual_information": 0.3,
    "model.batch_norm": True,
    "model.expert": "small_cnn",
    "optimisation.optimizer": "sgd",
    "optimisation.schedule": "cosine",
    "optimisation.average_over": 0.5,
}
HARD = {"routing": "hard", "loss.routing_diversity": 0.5, "loss.routing_entropy": 0.1, "pretraining.epochs": 1}


def trained(keys: Mapping[str, Any], labels: int = 2, images: int = 62) -> dict[str, Tensor]:
    """Return the weights after a few steps of a method whose last batches are small, and the losses."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, labels, (images,), generator=generator)
    data = CoarseData(noise(images), coarse, tuple("abc"[:labels]), (0.5,), (0.3,))
    recipe = tiny_recipe({"optimisation.batch_size": 12} | dict(keys))
    method = ClustNetMethod(data, recipe, Accelerator())
    method._keep({"indices": torch.arange(images), "experts": torch.arange(images) % EXPERTS})
    losses = [epoch.loss for epoch in method.run(0, EpochProgress(0, 9))]
    return method.model.state_dict() | {"losses": torch.tensor(losses)}


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    ("keys", "labels"),
    [({}, 3), (HARD, 2), (HARD | {"optimisation.batch_period": 1}, 2), (DISCOVERY, 2), (DISCOVERY, 1)],
)
def test_method_reaches_weights_of_one_process(tmp_path: Path, count: int, keys: dict[str, Any], labels: int) -> None:
    alone = trained(keys, labels)
    first, *others = together(tmp_path, count, trained, keys, labels)
    torch.testing.assert_close(first, alone, atol=2e-6, rtol=1e-5)
    assert all(torch.equal(one[name], first[name]) for one in others for name in first)


def sentences() -> list[str]:
    """Return what is said in this process where one is refused, the first or the last, or the training diverges."""

    def refuse(where: int) -> int:
        if rank() == where:
            raise UserError(f"refused in {where}")
        return rank()

    said = [str(agreed(lambda: refuse(-1))), str(on_first(lambda: refuse(-1)))]
    for work in (lambda: agreed(lambda: refuse(1)), lambda: on_first(lambda: refuse(0))):
        try:
            work()
        except UserError as error:
            said.append(str(error))
    try:
        trained({"optimisation.optimizer": "sgd", "optimisation.learning_rate": 1e30})
    except DivergedError as error:
        said.append(str(error).partition(":")[0])
    return said


def test_refusal_in_one_is_in_all(tmp_path: Path) -> None:
    found = together(tmp_path, 2, sentences)
    refused = ["refused in 1", "refused in 0", "The training diverged"]
    assert found == [["0", "0", *refused], ["1", "0", *refused]]


def partitioned() -> tuple[int, list[int]]:
    """Return how often this process made the initial partition, which depends on its number, and what it has of it."""
    made = []

    class Silent:
        def lines(self, _: object) -> list[str]:
            return []

    def make(data: CoarseData, *_: object) -> tuple[Partition, Silent]:
        made.append(rank())
        return Partition(np.arange(len(data.images)), np.arange(len(data.images)) % (rank() + 2)), Silent()

    data = CoarseData(noise(20), torch.arange(20) % 2, ("a", "b"), (0.5,), (0.3,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustnet, "partition", make)
        method = ClustNetMethod(data, tiny_recipe({"partition.epochs": 1}), Accelerator())
        next(method.run(0, EpochProgress(0, 9)))
    assert method.partition is not None
    return len(made), method.partition.experts.tolist()


def test_first_alone_makes_initial_partition(tmp_path: Path) -> None:
    experts = [0, 1] * 10
    assert together(tmp_path, 2, partitioned) == [(1, experts), (0, experts)]


def routed(images: int) -> list[Tensor]:
    torch.manual_seed(0)
    model = MixtureOfExperts(tiny_recipe().model, (28, 28), (0.5,), (0.3,), 2)
    found = route(model, noise(images).numpy(), hard=False)
    return [torch.from_numpy(found.routing), torch.from_numpy(found.expert_probability)]


@pytest.mark.parametrize("images", [1, 300])
def test_every_image_is_scored_once(tmp_path: Path, images: int) -> None:
    for found in together(tmp_path, 2, routed, images):
        assert all(map(torch.equal, found, routed(images)))


# Adam divides a weight's gradient by its size: where that is next to nothing, rounding alone moves the weight.
SGD = {"optimisation.optimizer": "sgd", "optimisation.learning_rate": 0.05}
RUN = {"restarts": 2, "loss.mutual_information": 0.3, "optimisation.epochs": 3} | VIEWS | SGD


def run(out: Path, resume: bool, stop_in: int = 0) -> list[str]:
    """Train in this process and return what it printed; the last presses Ctrl-C in an epoch, if one is given."""
    method_epoch = ClustNetMethod._epoch

    def epoch(self: ClustNetMethod, number: int, *rest: Any) -> Any:
        if number == stop_in and rank() == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return method_epoch(self, number, *rest)

    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        patch.setattr(ClustNetMethod, "_epoch", epoch)
        try:
            train_restarts(tiny_recipe(RUN), out, resume)
        except (KeyboardInterrupt, UserError) as stop:
            print(stop)
    return said.getvalue().splitlines()


def same_run(one: Path, other: Path) -> None:
    """Check that two runs hold the same files, and the same weights and scores up to rounding."""
    files = [
        {path.relative_to(run).as_posix() for path in run.rglob("*") if path.suffix in (".pt", ".csv", ".yaml")}
        for run in (one, other)
    ]
    assert files[0] == files[1]
    # One more where it was resumed.
    assert len(list(one.rglob("events.*"))) <= len(list(other.rglob("events.*"))) + 1
    kept = [RunFolder.kept(run) for run in (one, other)]
    assert kept[0].path.relative_to(one) == kept[1].path.relative_to(other)
    last = kept[1].last_epoch()
    torch.testing.assert_close(*(folder.load_checkpoint(last)["model"] for folder in kept), atol=1e-5, rtol=1e-4)
    rows = [[{k: v for k, v in row.items() if k != "train_seconds"} for row in f.read_scores(last)] for f in kept]
    for row, expected in zip(*rows, strict=True):
        assert row == pytest.approx(expected, abs=1e-4)


def test_run_is_written_once_and_resumes(tmp_path: Path) -> None:
    alone = run(tmp_path / "alone", resume=False)
    first, second = together(tmp_path, 2, run, tmp_path / "team", False, 2)
    place = tmp_path / "team" / "restart_0"
    assert first[-1] == second[-1] == f"1 of 3 epochs are safe in {place}"
    # It prints nothing else.
    assert second == second[-1:]
    assert first[0] == "restart 1/2"
    assert first[1].startswith("epoch  1/3")
    first, second = together(tmp_path, 2, run, tmp_path / "team", True)
    assert second == []
    assert first[-1] == alone[-1]
    same_run(tmp_path / "team", tmp_path / "alone")


def test_batches_that_cannot_be_shared_evenly_are_refused(tmp_path: Path) -> None:
    found = together(tmp_path, 3, run, tmp_path / "run", False)
    sentence = "optimisation.batch_size is 50, which counts the images of all 3 processes and must be a multiple of 3; "
    assert [said[-1] for said in found] == [sentence + "set it to 51."] * 3
    assert not (tmp_path / "run").exists()


def test_torchrun_prints_once_and_stops_by_ctrl_c(tmp_path: Path) -> None:
    words = [str(REPOSITORY / "configs" / "mnist_hard.yaml"), *tiny_words(SGD | {"optimisation.epochs": 6})]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "clustnet", "train"]
    out = tmp_path / "team"
    with subprocess.Popen(
        [sys.executable, *launch, *words, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY)},
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("epoch  2/6"):
                process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        errors = process.stderr.read()
    safe = RunFolder(out).last_epoch()
    assert [line[:8] for line in lines if line.startswith("epoch")] == [f"epoch  {e + 1}" for e in range(safe)]
    assert 2 <= safe < 6
    told = f"clustnet: stopped. {safe} of 6 epochs are safe in {out}; to continue, run the same command with --resume."
    assert errors.count(told) == 1
    assert cli.main(["train", *words, "--out", str(out), "--resume"]) == cli.DONE
    assert cli.main(["train", *words, "--out", str(tmp_path / "alone")]) == cli.DONE
    same_run(out, tmp_path / "alone")
