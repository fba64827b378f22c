import csv
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clustnet.datasets import UNKNOWN, LabelledImages
from clustnet.errors import UserError
from tests.training.deep import deep_recipe
from tests.training.tiny import same_state, tiny_recipe
from training.models.inference import Routed
from training.runs.run_folder import RunFolder

STATE = {"model": {"weight": torch.arange(300.0)}, "gate": {"state": {0: {"step": 3}}, "groups": [{"lr": 1e-3}]}}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.begin(tiny_recipe(), resume=False)
    return folder


def test_run_begins_with_its_resolved_recipe(folder: RunFolder) -> None:
    assert folder.exists()
    assert folder.recipe() == tiny_recipe()
    assert folder.last_epoch() == 0
    assert folder.read_scores(0) == []


def test_folder_with_run_is_not_begun_again(folder: RunFolder) -> None:
    with pytest.raises(UserError, match="already holds a run; add --resume to continue, or choose another --out"):
        folder.begin(tiny_recipe(), resume=False)


def test_run_that_is_not_there_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run to resume; leave out --resume to start one"):
        RunFolder(tmp_path / "none").begin(tiny_recipe(), resume=True)
    with pytest.raises(UserError, match=r"is not a run: it holds no recipe.yaml"):
        RunFolder(tmp_path / "none").recipe()


@pytest.mark.parametrize(
    ("keys", "difference"),
    [
        ({"seed": 5}, "seed was 0 and is now 5"),
        ({"optimisation.epochs": 9}, "optimisation.epochs was 2 and is now 9"),
        ({"data.train_images": None}, "data.train_images was 200 and is now null"),
        ({"data.coarse": {"a": [0], "b": list(range(1, 10))}}, 'data.coarse was "given" and is now null'),
        ({"routing": "hard"}, 'routing was "soft" and is now "hard"'),
    ],
)
def test_another_recipe_is_refused_by_its_first_difference(
    folder: RunFolder, keys: dict[str, object], difference: str
) -> None:
    with pytest.raises(UserError, match=rf"was started with another recipe: {difference}\.$"):
        folder.begin(tiny_recipe(keys), resume=True)
    folder.begin(tiny_recipe(), resume=True)


def test_order_of_coarse_labels_counts(tmp_path: Path) -> None:
    groups = {"0.4": [0, 1, 2, 3, 4], "5.9": [5, 6, 7, 8, 9]}
    folder = RunFolder(tmp_path / "run")
    folder.begin(tiny_recipe({"data.coarse": groups}), resume=False)
    swapped = tiny_recipe({"data.coarse": dict(reversed(groups.items()))})
    with pytest.raises(UserError, match=r"another recipe: data\.coarse lists its labels in another order"):
        folder.begin(swapped, resume=True)


def test_another_method_is_another_recipe(folder: RunFolder) -> None:
    with pytest.raises(UserError, match='another recipe: method was "clustnet" and is now "deep_clustering"'):
        folder.begin(deep_recipe(), resume=True)


def test_network_without_a_spec_is_refused(folder: RunFolder) -> None:
    folder.save_checkpoint(1, STATE)
    with pytest.raises(UserError, match="was trained by another version, whose networks are not read; train it again"):
        folder.load_network()


def test_network_needs_neither_recipe_nor_data(finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run / "checkpoints", tmp_path / "checkpoints")
    last = RunFolder(tmp_path).load_network()
    assert not last.training
    assert same_state(last.state_dict(), RunFolder(finished_run).load_checkpoint(2)["model"])


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/run cannot be written \(Not a directory\); choose another --out"):
        RunFolder(tmp_path / "file" / "run").begin(tiny_recipe(), resume=False)


def refused(folder: RunFolder, epochs: int = 0, resume: bool = False) -> None:
    """Begin a run that is refused after so many epochs."""
    with folder.begun(tiny_recipe(), resume):
        folder.tensorboard.mkdir(exist_ok=True)
        for epoch in range(epochs):
            folder.save_checkpoint(epoch + 1, STATE)
        raise UserError("no")


def test_refusal_before_an_epoch_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no"):
        refused(RunFolder(tmp_path / "runs" / "run"))
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    for path in (tmp_path / "runs" / "other", tmp_path / "run" / "notes"):
        path.mkdir(parents=True)
    for name in ("runs/run", "run"):
        with pytest.raises(UserError, match="no"):
            refused(RunFolder(tmp_path / name))
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert found == {"runs", "runs/other", "run", "run/notes"}


def test_run_that_is_refused_later_or_resumed_stays(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="no"):
        refused(folder, epochs=1)
    assert folder.last_epoch() == 1
    folder.checkpoint(1).unlink()
    with pytest.raises(UserError, match="no"):
        refused(folder, resume=True)
    assert folder.recipe() == tiny_recipe()


def test_interrupted_run_stays(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt), folder.begun(tiny_recipe(), resume=False):
        raise KeyboardInterrupt
    assert folder.exists()


def test_checkpoint_comes_back_and_last_counts(folder: RunFolder) -> None:
    for epoch in (2, 10, 1000):
        folder.save_checkpoint(epoch, STATE | {"epoch": epoch})
        assert folder.last_epoch() == epoch
        assert same_state(folder.load_checkpoint(epoch), STATE | {"epoch": epoch})


def test_full_disk_leaves_checkpoints_before(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.save_checkpoint(1, STATE)
    plain = Path.open

    def full(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        return plain(Path("/dev/full") if "w" in mode else path, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left on device"):
        folder.save_checkpoint(2, STATE)
    monkeypatch.undo()
    assert folder.last_epoch() == 1
    assert [path.name for path in (folder.path / "checkpoints").iterdir()] == ["epoch_001.pt"]


def test_run_without_checkpoint_says_to_train_it(folder: RunFolder) -> None:
    with pytest.raises(UserError, match="has no finished epoch yet; train it first"):
        folder.load_checkpoint(folder.last_epoch())


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = RunFolder(tmp_path_factory.mktemp("checkpoint"))
    folder.save_checkpoint(1, STATE)
    return (folder.path / "checkpoints" / "epoch_001.pt").read_bytes()


@given(data=st.data())
def test_damaged_checkpoint_is_refused_or_whole(
    packed: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(packed)
    place = data.draw(st.integers(0, len(packed) - 1))
    if data.draw(st.booleans()):
        del damaged[place:]
    else:
        damaged[place] ^= data.draw(st.integers(1, 255))
    folder = RunFolder(tmp_path_factory.getbasetemp() / "damaged")
    path = folder.path / "checkpoints" / "epoch_001.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(damaged)
    try:
        state = folder.load_checkpoint(1)
    except UserError as error:
        assert str(error) == f"The checkpoint {path} is damaged; remove it to use the one before."  # noqa: PT017
    else:
        assert same_state(state, STATE)  # the byte was one of the archive's padding


class Spy:
    called = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (Spy, "called", True)


def test_checkpoint_runs_no_code(folder: RunFolder) -> None:
    folder.save_checkpoint(1, {"model": Spy()})
    with pytest.raises(UserError, match="is damaged"):
        folder.load_checkpoint(1)
    assert not Spy.called


rows = st.fixed_dictionaries(
    {
        "stage": st.sampled_from(["pretrain", "train"]),
        "split": st.sampled_from(["train", "test"]),
        "images": st.integers(1, 10**6),
        "train_loss": st.floats(allow_nan=False),
        'group_accuracy/0, "4"': st.floats(0, 1),
    }
)


@given(st.lists(rows, min_size=1, max_size=6))
def test_scores_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, drawn: list[dict[str, object]]) -> None:
    folder = RunFolder(tmp_path_factory.getbasetemp() / "scores")
    numbered = [{"epoch": epoch, **row} for epoch, row in enumerate(drawn, 1)]
    folder.write_scores(numbered)
    assert folder.read_scores(len(drawn)) == numbered
    assert folder.read_scores(1) == numbered[:1]


def test_scores_that_are_left_out_stay_out(folder: RunFolder) -> None:
    rows = [{"epoch": 1, "split": "train"}, {"epoch": 1, "split": "test", "nmi": 0.5}]
    folder.write_scores(rows)
    assert folder.read_scores(1) == rows


def test_score_that_is_nan_stays_nan(folder: RunFolder) -> None:
    folder.write_scores([{"epoch": 1, "nmi": math.nan}])
    assert math.isnan(folder.read_scores(1)[0]["nmi"])


def test_missing_scores_of_begun_run_are_named(folder: RunFolder) -> None:
    with pytest.raises(UserError, match=r"scores.csv is missing, so the run cannot go on"):
        folder.read_scores(1)


def predicted(labels: int, files: bool, routing: np.ndarray) -> tuple[LabelledImages, Routed]:
    """Return four images, of one of which the class is unknown, and made-up predictions for them."""
    probability = np.random.default_rng(1).dirichlet(np.ones(labels), routing.shape).astype(np.float32)
    probability[0] = np.eye(labels)[0]
    names = tuple(f"label {k}" for k in range(labels))
    fine, paths = np.array([3, 7, UNKNOWN, 9]), tuple(f"a/{number}.png" for number in range(4)) if files else None
    images = LabelledImages(
        "folder",
        "test",
        np.zeros((4, 8, 8), np.uint8),
        np.arange(4) % labels,
        names,
        fine,
        tuple("0123456789"),
        (0.5,),
        (0.5,),
        paths,
    )
    return images, Routed(routing, probability, routing)


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize("labels", [1, 2, 3])
def test_predictions_of_each_image_are_written(folder: RunFolder, labels: int, files: bool) -> None:
    routing = np.random.default_rng(0).dirichlet(np.ones(3), 4).astype(np.float32)
    images, routed = predicted(labels, files, routing)
    folder.write_images(7, images, routed)
    with (folder.path / "images" / "epoch_007_test.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    columns = [*(f"log_probability_{k}" for k in range(labels)), "routing_0", "routing_1", "routing_2"]
    assert header == [*(["file"] if files else []), "class", "coarse", *columns]
    if files:
        assert [line.pop(0) for line in lines] == list(images.files or ())
    assert [line[:2] for line in lines] == [[c, str(k % labels)] for k, c in enumerate(("3", "7", "", "9"))]
    values = np.array([line[2:] for line in lines], float)
    assert np.isfinite(values).all()
    wanted = (routing[:, :, None] * routed.expert_probability).sum(axis=1)
    np.testing.assert_allclose(np.exp(values[:, :labels]), wanted, atol=1e-5)
    np.testing.assert_allclose(values[:, labels:], routing, rtol=1e-5)


@pytest.mark.parametrize("work", ["recipe", "checkpoint", "scores", "images"])
def test_interrupt_never_leaves_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str) -> None:
    """Whatever is being written is interrupted at the last moment: just before it gets its name."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    folder, routing = RunFolder(tmp_path), np.full((4, 2), 0.5, np.float32)
    writing = {
        "recipe": lambda: folder.begin(tiny_recipe(), resume=False),
        "checkpoint": lambda: folder.save_checkpoint(1, STATE),
        "scores": lambda: folder.write_scores([{"epoch": 1}]),
        "images": lambda: folder.write_images(1, *predicted(2, True, routing)),
    }
    with pytest.raises(KeyboardInterrupt):
        writing[work]()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
