"""What is read of images, and what is left out."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clustnet.errors import UserError
from training.discover.arguments import Columns
from training.discover.glance import glance
from training.discover.reading import describe, load_files, load_problems, read
from training.discover.sources import entries


def _picture(path: Path, seed: int, size: tuple[int, int] = (20, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _read(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    read(entries(tmp_path / "photos", Columns()), run)
    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed, name in enumerate(["ok/a.png", "ok/b.png", "bad/c.png", "bad/d.png"]):
        _picture(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


def test_images_are_listed_and_linked(photos: Path, tmp_path: Path) -> None:
    run = _read(tmp_path)
    images = load_files(run)
    assert [image.file for image in images] == ["bad/c.png", "bad/d.png", "ok/a.png", "ok/b.png"]
    assert {(image.split, image.width, image.height, image.colour) for image in images} == {("train", 16, 20, 1)}
    for image in images:
        assert (run / "images" / image.image).read_bytes() == (photos / image.file).read_bytes()
    assert np.load(run / "thumbnails.npy").shape == (4, 16, 16)
    assert load_problems(run) == []


def test_what_cannot_be_read_is_left_out(photos: Path, tmp_path: Path) -> None:
    content = (photos / "ok" / "a.png").read_bytes()
    (photos / "ok" / "empty.png").touch()
    (photos / "ok" / "note.txt").write_text("no image")
    (photos / "ok" / "short.png").write_bytes(content[: len(content) // 2])
    (photos / "ok" / "gone.png").symlink_to(tmp_path / "nowhere")
    (photos / "ok" / "copy.png").write_bytes(content)
    run = _read(tmp_path)
    found = {problem.file.removeprefix("ok/"): problem.problem for problem in load_problems(run)}
    assert found["empty.png"] == "is empty"
    assert found["note.txt"].startswith("is not a PNG")
    assert found["short.png"] == "is cut short or damaged"
    assert found["gone.png"].startswith("cannot be read")
    assert found["copy.png"] == "is equal to ok/a.png"
    assert len(load_files(run)) == 4


def test_equal_images_under_two_labels_are_reported(photos: Path, tmp_path: Path) -> None:
    (photos / "bad" / "a.png").write_bytes((photos / "ok" / "a.png").read_bytes())
    run = _read(tmp_path)
    problems, images = load_problems(run), load_files(run)
    assert [problem.file for problem in problems] == ["bad/a.png", "ok/a.png"]
    assert problems[0].problem == "equals images of bad and ok: ok/a.png"
    assert len(images) == 3
    assert "2 equal images under two coarse labels" in "\n".join(describe(images, problems))


def test_a_test_label_needs_training_images(photos: Path, tmp_path: Path) -> None:
    _picture(photos / "test" / "other" / "e.png", 9)
    run = _read(tmp_path)
    assert [problem.problem for problem in load_problems(run)] == ["has a coarse label that no training image has"]


@pytest.mark.parametrize("label", ["a" * 300, " ok", "a/b", "..", ".hidden", "Thumbs.db"])
def test_names_that_cannot_be_used_are_refused(photos: Path, tmp_path: Path, label: str) -> None:
    (tmp_path / "list.csv").write_text(f"file,label\nphotos/ok/a.png,{label}\n")
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="cannot name a folder"):
        read(entries(tmp_path / "list.csv", Columns()), tmp_path / "run")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos" / "ok").mkdir(parents=True)
    (tmp_path / "photos" / "ok" / "note.txt").write_text("no image")
    with pytest.raises(UserError, match=r"no image to train on; ok/note\.txt is not a PNG"):
        _read(tmp_path)


def test_an_image_is_looked_at_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (40, 20), 90).save(tmp_path / "turned.jpg", exif=exif)
    seen = glance(tmp_path / "turned.jpg")
    assert (seen.width, seen.height, seen.colour) == (20, 40, False)


def test_the_journal_spares_a_second_look(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.discover.reading.sorted_out", stop)
        with pytest.raises(KeyboardInterrupt):
            _read(tmp_path)
    with (run / ".read.jsonl").open("a") as journal:
        journal.write('["ok/a.png", 12')
    with monkeypatch.context() as patch:
        patch.setattr("training.discover.reading.glance", stop)
        _read(tmp_path)
    assert len(load_files(run)) == 4


@given(st.binary(max_size=300), st.sampled_from(["PNG", "JPEG", "BMP"]), st.integers(0, 200))
def test_any_content_is_an_image_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str, cut: int
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 5), (200, 10, 30)).save(buffer, kind)
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(buffer.getvalue()[:cut] + content)
    seen = glance(path)
    assert bool(seen.problem) != bool(seen.sha256)
