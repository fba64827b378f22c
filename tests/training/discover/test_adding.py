"""New images that a model abstains from, added to an earlier run."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.bundles.preparation import prepare
from clustnet.cli import WRONG_INPUT, main
from clustnet.datasets import LabelledImages
from clustnet.errors import UserError
from tests.review.runs import write_run
from training.discover import adding
from training.discover.adding import Added, abstained
from training.discover.arguments import Arguments
from training.discover.collection import CLUSTERS, Collection
from training.discover.embedding import ROWS
from training.discover.reading import load_problems, write_rows
from training.discover.steps import REPRESENTATIONS

OLD_IMAGES, NEW = 24, 13


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Added:
    """A run that is to add thirteen new animals, of which the model knows one, and one that the old run has."""
    old, new = write_run(tmp_path / "old", OLD_IMAGES), tmp_path / "new" / "animals"
    new.mkdir(parents=True)
    for number in range(NEW):
        noise = np.random.default_rng(1000 + number).integers(0, 255, (9, 9, 3))
        Image.fromarray(noise.astype(np.uint8)).save(new / f"{number:02}.png")
    shutil.copy(old / "images" / "train" / "animals" / "00000.jpg", new)
    hashes = [[*row[:4], adding.reading.glance(old / "images" / row[1]).sha256, *row[5:]] for row in _files(old)]
    write_rows(old / "files.csv", adding.Image._fields, hashes)
    (old / "problems.csv").write_text("file,split,coarse,problem,kind\n")
    monkeypatch.setattr(Added, "_predictor", lambda _: None)
    monkeypatch.setattr(adding, "abstained", lambda files, _: [path.stem != "00" for path in files])
    arguments = Arguments(images=tmp_path / "new", subtypes={"animals": 2}, resume=old, bundle=tmp_path)
    made = Added(arguments, tmp_path / "out")
    made.run.mkdir()
    made.read()
    return made


def _files(run: Path) -> list[list[str]]:
    with (run / "files.csv").open() as file:
        return list(csv.reader(file))[1:]


def test_what_the_model_knows_is_left_out(added: Added) -> None:
    found = Collection.of(added.run)
    assert [image.file for image in found.images][OLD_IMAGES:] == [
        f"added:new/animals/{n:02}.png" for n in range(1, NEW)
    ]
    assert all(file.is_file() for file in found.files)
    assert found.images[-1].image.startswith("train/animals/added_")
    assert len(np.load(added.run / "thumbnails.npy")) == len(found.images) == OLD_IMAGES + NEW - 1
    assert load_problems(added.run) == []


def test_new_images_get_new_subtypes(added: Added) -> None:
    _write_rows(added)
    added.cluster()
    ids = [row.subtype for row in added.reviewed]
    # The first eight and the last four new images lie apart.
    assert ids[OLD_IMAGES:] == ["animals/3"] * 8 + ["animals/4"] * 4
    assert ids[:OLD_IMAGES] == [
        subtype for subtype in ("animals/1", "animals/2", "vehicles/1", "vehicles/2") for _ in range(6)
    ]
    # The same again, as after a kill.
    added.cluster()
    assert [row.subtype for row in added.reviewed] == ids


def _write_rows(added: Added) -> None:
    """Write what images are compared by, as the step before does."""
    old = Collection.of(added.before)
    centres: NDArray[np.float32] = np.repeat(np.eye(4, dtype=np.float32)[2:] * 20, [8, 4], axis=0)
    noise = np.random.default_rng(0).normal(0, 0.2, centres.shape)
    (added.run / ROWS).mkdir()
    np.save(added.run / ROWS / "pixels.npy", np.concatenate([old.space, centres + noise]).astype(np.float32))
    representations = [("pixels", 0.1, 1.0), ("edges", 0.4, 0.0)]
    write_rows(added.before / CLUSTERS / REPRESENTATIONS, ("name", "coarse_error", "weight"), representations)


def test_a_model_that_knows_all_finds_nothing(added: Added, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "abstained", lambda files, _: [False for _ in files])
    with pytest.raises(UserError, match="abstains from none of the 14 new images"):
        added.read()


def test_another_coarse_label_is_refused(added: Added, tmp_path: Path) -> None:
    (tmp_path / "new" / "plants").mkdir()
    Image.new("RGB", (9, 9), "green").save(tmp_path / "new" / "plants" / "1.png")
    with pytest.raises(UserError, match="has the coarse label 'plants', but the run to add to has animals, vehicles"):
        added.read()


def test_abstention_is_the_bundle_s(synthetic_bundle: Path, mnist_test: LabelledImages, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(300)]
    for file, image in zip(files, mnist_test.images, strict=False):
        Image.fromarray(image).save(file)
    predictor = Predictor(Bundle(synthetic_bundle))
    manifest = predictor.manifest
    images = np.stack([prepare(file.read_bytes(), manifest.input) for file in files])
    expected = predictor.predict(images).confidence < manifest.abstention.threshold
    found = abstained(files, predictor)
    assert found == expected.tolist()
    assert 0 < sum(found) < 300


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["new", "--add", "old"], "--add OLD and --bundle BUNDLE belong together"),
        (["gone", "--add", "old", "--bundle", "b"], "There is no folder gone"),
        (["--resume", "old", "--add", "old"], "--resume cannot be combined with --add"),
    ],
)
def test_wrong_calls_are_sentences(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["discover", *words, "--out", "x"]) == WRONG_INPUT
    assert said in capsys.readouterr().err
