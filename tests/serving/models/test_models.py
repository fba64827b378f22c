"""The models in this process; two ``Models`` that share a folder are what two workers have."""

import gc
import json
import logging
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clustnet.bundles.bundle import MANIFEST, MIXTURE, Bundle
from clustnet.bundles.predictor import Predictions, Predictor
from clustnet.errors import UserError
from clustnet.files import sha256_of
from clustnet.packing.signature import sign
from serving.models.models import Models
from serving.models.shared import FOLDER
from serving.refusals import Refusal
from serving.settings import Settings
from tests.clustnet.packing.test_signature import write_keys
from tests.synthetic import write_bundle

IMAGES = np.random.default_rng(3).integers(0, 256, (2, 28, 28)).astype(np.uint8)


@pytest.fixture(autouse=True)
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that would be tried out in processes of their own, which test_trial.py starts."""
    folders: list[Path] = []
    monkeypatch.setattr("serving.models.models.try_in_process", lambda folder, _: folders.append(folder))
    return folders


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """A repository of ``a/1`` and ``b/1``."""
    add(tmp_path / "bundles", "a", "1")
    return add(tmp_path / "bundles", "b", "1")


@pytest.fixture
def worker(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Models]:
    """One worker; ``follower`` makes others."""
    (tmp_path / "shared").mkdir()
    monkeypatch.setenv(FOLDER, str(tmp_path / "shared"))
    return follower(bundles)


def follower(*folders: Path) -> Models:
    return Models(Settings(bundles=folders, device="cpu"))


def add(repository: Path, name: str, version: str, seed: int = 0) -> Path:
    """Write a bundle into a repository, over what is there, and return the repository."""
    shutil.rmtree(repository / name / version, ignore_errors=True)
    write_bundle(repository / name / version, seed, name=name, version=version)
    return repository


def spoil(bundle: Path) -> None:
    """Change one byte of the graph."""
    content = bytearray((bundle / MIXTURE).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / MIXTURE).write_bytes(content)


def served(models: Models) -> dict[str, list[str]]:
    return {name: [model.manifest.version for model in found] for name, found in models.now.models.items()}


def answer(models: Models, name: str) -> list[float]:
    return models.now.find(name).predictor.predict(IMAGES).class_probability.ravel().tolist()  # type: ignore[no-any-return]


def test_first_model_and_newest_version_are_defaults(worker: Models, bundles: Path) -> None:
    add(bundles, "a", "10")
    add(bundles, "a", "9")
    worker.load("a")
    assert served(worker) == {"a": ["10", "9", "1"], "b": ["1"]}
    now = worker.now
    assert now.find() is now.find("a") is now.find("a", "10") is now.find(None, "10") is now.all()[0]
    assert now.find("a", "9").manifest.version == "9"
    assert now.find("b").manifest.name == "b"


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("c", None, "There is no model 'c'; this service has 'a', 'b'."),
        ("a", "2", "'a' has no version '2'; this service has '1'."),
        (None, "2", "'a' has no version '2'; this service has '1'."),
    ],
)
def test_what_is_not_there_is_404(worker: Models, name: str | None, version: str | None, says: str) -> None:
    with pytest.raises(Refusal) as caught:
        worker.now.find(name, version)
    assert (caught.value.status, str(caught.value)) == (404, says)


def test_a_request_keeps_a_replaced_bundle(worker: Models, bundles: Path) -> None:
    before, old = worker.now, answer(worker, "a")
    add(bundles, "a", "1", seed=1)
    assert answer(worker, "a") == old
    worker.load("a")
    assert answer(worker, "a") != old
    assert before.find("a").predictor.predict(IMAGES).class_probability.ravel().tolist() == old
    assert worker.now.find("b") is before.find("b")


def make_unreadable(bundle: Path) -> None:
    (bundle / MANIFEST).write_text("{")


def make_another_name(bundle: Path) -> None:
    (bundle / MANIFEST).write_text((bundle / MANIFEST).read_text().replace('"name": "a"', '"name": "z"'))


def make_unrunnable(bundle: Path) -> None:
    """Let the graph divide images by as many numbers as three have, which only shows when it runs on two."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(bundle / MIXTURE)
    scale = next(value for value in graph.graph.initializer if value.name == "scale")
    scale.CopyFrom(numpy_helper.from_array(np.ones((3, 784), np.float32), "scale"))
    onnx.save(graph, bundle / MIXTURE)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][MIXTURE] = sha256_of(bundle / MIXTURE)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (spoil, "is damaged: mixture.onnx does not match its SHA-256"),
        (make_unreadable, "is not a valid manifest"),
        (make_another_name, "names the model 'z', but its path 'a'"),
        (make_unrunnable, "does not run"),
        (shutil.rmtree, "no longer hold a bundle of 'a'"),
    ],
)
def test_a_bad_bundle_leaves_the_old_one(worker: Models, bundles: Path, damage: object, says: str) -> None:
    before, old = worker.now, answer(worker, "a")
    damage(bundles / "a" / "1")  # type: ignore[operator]
    with pytest.raises(UserError, match=says):
        worker.load("a")
    assert worker.now is before
    assert answer(worker, "a") == old
    worker.load("b")


def test_a_bad_version_blocks_the_new_one(worker: Models, bundles: Path) -> None:
    add(bundles, "a", "2")
    add(bundles, "a", "3")
    spoil(bundles / "a" / "3")
    with pytest.raises(UserError, match="3 is damaged"):
        worker.load("a")
    assert served(worker)["a"] == ["1"]


def test_a_doubled_version_is_refused(bundles: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", name="b", version="1")
    with pytest.raises(UserError, match=f"{bundles}/b/1 and {other} both hold version '1' of the model 'b'; remove"):
        follower(bundles, other)


def test_a_bundle_that_changes_meanwhile_is_refused(
    worker: Models, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "try_out", lambda _: add(bundles, "a", "1", seed=5))
    with pytest.raises(UserError, match="changed while it was read"):
        worker.load("a")


def test_chosen_experts_need_hard_routing(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    settings = Settings(bundles=(bundles,), device="cpu", experts="chosen")
    said = "a/1 has soft routing, where every expert counts; set CLUSTNET_EXPERTS to all"
    with pytest.raises(UserError, match=said):
        Models(settings)
    hard = write_bundle(tmp_path / "hard" / "a", hard=True, name="a")
    serving = Models(settings.model_copy(update={"bundles": (hard.parent,)}))
    before = serving.now
    assert answer(serving, "a") == Predictor(Bundle(hard), "cpu").predict(IMAGES).class_probability.ravel().tolist()
    shutil.rmtree(hard)
    write_bundle(hard, name="a", routing="hard")
    with pytest.raises(UserError, match=r"a has no conditional\.onnx"):
        serving.load("a")
    assert serving.now is before


def test_unloading_and_loading_again(worker: Models) -> None:
    worker.unload("a")
    worker.unload("a")
    assert served(worker) == {"b": ["1"]}
    for name in ("a", None):
        with pytest.raises(Refusal, match="The model 'a' is unloaded; load it with POST /v2/repository/models/a/load"):
            worker.now.find(name)
    assert {"name": "a", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"} in worker.now.index()
    worker.load("a")
    assert served(worker) == {"b": ["1"], "a": ["1"]}
    assert worker.now.find().manifest.name == worker.now.all()[0].manifest.name == "a"
    assert {row["state"] for row in worker.now.index()} == {"READY"}


def test_unknown_models_are_neither_loaded_nor_unloaded(worker: Models) -> None:
    for change in (worker.load, worker.unload):
        with pytest.raises(Refusal, match="There is no model 'c'; this service has") as caught:
            change("c")
        assert caught.value.status == 404


def test_what_is_loaded_is_tried_before(worker: Models, bundles: Path, tried: list[Path]) -> None:
    assert tried == []
    worker.load("a")
    assert tried == [bundles / "a" / "1"]


def test_a_new_model_is_loaded_by_its_name(worker: Models, bundles: Path) -> None:
    add(bundles, "c", "1")
    worker.load("c")
    assert served(worker) == {"a": ["1"], "b": ["1"], "c": ["1"]}
    shutil.rmtree(bundles / "c" / "1")
    add(bundles, "c", "2")
    worker.load("c")
    assert served(worker)["c"] == ["2"]


def test_other_workers_follow(worker: Models, bundles: Path) -> None:
    other = follower(bundles)
    # It has not looked yet.
    assert other.behind()
    other.follow()
    assert not other.behind()
    add(bundles, "a", "2", seed=2)
    worker.load("a")
    worker.unload("b")
    assert served(other) == {"a": ["1"], "b": ["1"]}
    assert other.behind()
    kept = other.now.find("a", "1")
    other.follow()
    assert not other.behind()
    assert served(other) == served(worker) == {"a": ["2", "1"]}
    assert answer(other, "a") == answer(worker, "a")
    assert other.now.unloaded == worker.now.unloaded == {"b": ("1",)}
    assert other.now.find("a", "1").manifest == kept.manifest
    other.load("b")
    worker.follow()
    assert served(worker) == served(other) == {"a": ["2", "1"], "b": ["1"]}


def test_a_late_workers_change_undoes_nothing(worker: Models, bundles: Path) -> None:
    other = follower(bundles)
    worker.unload("a")
    other.unload("b")
    assert served(other) == {}
    worker.follow()
    assert served(worker) == {}
    other.load("a")
    worker.load("b")
    assert served(worker) == {"a": ["1"], "b": ["1"]}


def test_a_late_worker_serves_the_same(worker: Models, bundles: Path) -> None:
    worker.unload("a")
    # No request has loaded it.
    add(bundles, "b", "2")
    later = follower(bundles)
    assert served(later) == {"b": ["1"]}
    with pytest.raises(Refusal, match="'a' is unloaded"):
        later.now.find()


def test_a_worker_that_cannot_follow_serves_on(
    worker: Models, bundles: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    other = follower(bundles)
    old = answer(other, "a")
    add(bundles, "a", "1", seed=1)
    worker.load("a")
    worker.unload("b")
    # It is too early for the other one.
    add(bundles, "a", "1", seed=2)
    for _ in range(3):
        assert other.behind()
        other.follow()
    assert answer(other, "a") == old
    assert served(other) == {"a": ["1"]}
    (record,) = caplog.records
    assert "a/1 has changed since it was loaded; load the model again." in record.getMessage()
    add(bundles, "a", "1", seed=1)
    assert other.behind()
    other.follow()
    assert answer(other, "a") == answer(worker, "a")
    other.behind()
    assert not other.behind()


def test_a_late_worker_serves_changed_folders(worker: Models, bundles: Path) -> None:
    add(bundles, "a", "1", seed=1)
    later = follower(bundles)
    assert answer(later, "a") != answer(worker, "a")
    spoil(bundles / "a" / "1")
    with pytest.raises(UserError, match="is damaged"):
        follower(bundles)


def test_a_replaced_model_frees_its_memory(worker: Models, bundles: Path) -> None:
    other = follower(bundles)
    gone = [weakref.ref(models.now.find("a").predictor._session) for models in (worker, other)]
    kept = weakref.ref(worker.now.find("b").predictor)
    add(bundles, "a", "1", seed=1)
    worker.load("a")
    other.follow()
    gone.append(weakref.ref(other.now.find("a").predictor._session))
    worker.unload("a")
    other.follow()
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3
    assert kept() is not None


def test_a_model_is_warm_before_it_serves(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run: Callable[..., Predictions] = Predictor._predict

    def counting(self: Predictor, images: NDArray[np.uint8], options: object = None) -> Predictions:
        sizes.append(len(images))
        return run(self, images, options)

    monkeypatch.setattr(Predictor, "_predict", counting)
    Models(Settings(bundles=(next((bundles / "a").iterdir()),), device="cpu", max_images=50))
    assert sizes == [2, 1, 50]


def test_bundles_must_be_signed(bundles: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    settings = Settings(bundles=(bundles,), device="cpu", verify_key=public)
    with pytest.raises(UserError, match=r"a/1 is not signed: it holds no model\.sig"):
        Models(settings)
    for name in ("a", "b"):
        sign(bundles / name / "1", private)
    models = Models(settings)
    assert served(models) == {"a": ["1"], "b": ["1"]}
    spoil(bundles / "a" / "1")
    with pytest.raises(UserError, match=r"The signature of .*a/1 does not fit .*key\.pub \(.*mixture\.onnx"):
        models.load("a")
    with pytest.raises(UserError, match="does not fit"):
        Models(settings)
    # All is served as before.
    assert served(models) == {"a": ["1"], "b": ["1"]}
