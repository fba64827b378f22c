import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from clustnet import cli
from review.writers.folders import folder_names
from review.writers.record import Record
from tests.review.runs import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("run") / "photos")
    words = [
        "--rename",
        "animals/1=big/cat",
        "--outlier",
        "animals/00001.jpg",
        "--move",
        "vehicles/00031.jpg=animals/2",
    ]
    assert cli.main(["review", str(run), *words]) == cli.DONE
    return run


def write(run: Path, folder: Path, kind: str) -> Path:
    assert cli.main(["review", str(run), "--write", kind, str(folder)]) == cli.DONE
    return folder


def test_folders_hold_what_is_kept(run: Path, tmp_path: Path) -> None:
    folder = write(run, tmp_path / "out", "folders")
    counts = {path.relative_to(folder).as_posix(): len(list(path.iterdir())) for path in folder.glob("*/*/*")}
    assert counts == {
        "train/animals/big_cat": 14,
        "train/animals/2": 16,
        "train/vehicles/1": 14,
        "train/vehicles/2": 15,
    }
    copy = folder / "train" / "animals" / "2" / "000031_00031.jpg"
    assert copy.read_bytes() == (run / "images" / "train" / "vehicles" / "00031.jpg").read_bytes()


def test_a_folder_in_use_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes").touch()
    assert cli.main(["review", str(run), "--write", "csv", str(tmp_path)]) == cli.WRONG_INPUT
    assert "already exists and is not empty" in capsys.readouterr().err


def test_label_studio_gets_tasks_and_interface(run: Path, tmp_path: Path) -> None:
    folder = write(run, tmp_path / "out", "labelstudio")
    tasks = json.loads((folder / "tasks.json").read_text())
    interface = ElementTree.parse(folder / "config.xml").getroot()  # noqa: S314 - written by the test
    choices = {choice.get("value") for choice in interface.iter("Choice")}
    assert choices == {"big/cat", "animals/2", "vehicles/1", "vehicles/2"}
    by_person = [task for task in tasks if "annotations" in task]
    assert (len(tasks), len(by_person)) == (59, 15)
    for task in tasks:
        image = task["data"]["image"].removeprefix("/data/local-files/?d=")
        assert (folder / image).is_file()
        (said,) = task.get("annotations") or task["predictions"]
        assert set(said["result"][0]["value"]["choices"]) <= choices


def test_fiftyone_gets_labels_and_data(run: Path, tmp_path: Path) -> None:
    folder = write(run, tmp_path / "out", "fiftyone")
    labels = json.loads((folder / "labels.json").read_text())
    assert sorted(labels["labels"]) == sorted(path.stem for path in (folder / "data").iterdir())
    moved = labels["labels"]["000031_00031"]
    assert labels["classes"][moved["label"]] == "animals/2"
    assert moved["attributes"] == {"file": "vehicles/00031.jpg", "split": "train", "coarse": "animals", "by": "person"}


def test_hugging_face_gets_an_image_folder(run: Path, tmp_path: Path) -> None:
    folder = write(run, tmp_path / "out", "huggingface")
    with (folder / "train" / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 59
    assert all((folder / "train" / row["file_name"]).is_file() for row in rows)
    assert {row["name"] for row in rows} == {"big/cat", "animals/2", "vehicles/1", "vehicles/2"}


def test_embeddings_alone_make_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    (run / "thumbnails.npy").unlink()
    assert cli.main(["review", str(run), "--write", "folders", str(tmp_path / "out")]) == cli.WRONG_INPUT
    assert "only --write csv is possible" in capsys.readouterr().err
    assert (write(run, tmp_path / "out", "csv") / "subtypes.csv").is_file()


def test_folders_are_told_apart() -> None:
    names = ["grey", "Grey", "a/b", "a_b", "größe", "ok/5"]
    records = [Record(0, "x", "train", "ok", f"ok/{place}", name, 1.0, "model", "") for place, name in enumerate(names)]
    assert list(folder_names(records).values()) == ["grey", "Grey (ok_1)", "a_b", "a_b (ok_3)", "größe", "5"]


def test_hugging_face_reads_its_folder(run: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed")
    folder = write(run, tmp_path / "out", "huggingface")
    read = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    assert (len(read), read[0]["image"].size) == (59, (24, 24))
