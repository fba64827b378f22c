import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.cli import DONE, WRONG_INPUT, main
from tests.evaluation.stub import Reply, Stub
from tests.synthetic import COARSE, write_bundle


def evaluate(*arguments: object, data: str = "mnist:test") -> int:
    return main(["evaluate", "--data", data, *map(str, arguments)])


@pytest.mark.usefixtures("small_plots")
def test_a_service_scores_as_its_bundle_does(
    synthetic_bundle: Path, stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ("--limit", 1000)
    assert evaluate("--bundle", synthetic_bundle, "--out", tmp_path / "bundle", *limit) == DONE
    first = capsys.readouterr().out
    assert evaluate("--url", stub.url, "--out", tmp_path / "url", *limit) == DONE
    second = capsys.readouterr().out
    assert first.replace("/bundle/", "/url/") == second
    bundle, url = tmp_path / "bundle", tmp_path / "url"
    for file in bundle.iterdir():
        if file.name not in ("scores.json", "report.html"):
            assert file.read_bytes() == (url / file.name).read_bytes(), file.name
    ours, theirs = ((folder / "scores.json").read_text() for folder in (bundle, url))
    assert ours.partition('  "source"')[0] == theirs.partition('  "source"')[0]
    assert json.loads(ours)["source"]["bundle"] == str(synthetic_bundle)
    assert json.loads(theirs)["source"] == {"url": stub.url}
    assert stub.batches == [256, 256, 256, 232]


@pytest.mark.usefixtures("quick_plots")
@pytest.mark.parametrize("coarse", [1, 3])
def test_a_service_scores_any_coarse_labels(stub: Stub, tmp_path: Path, coarse: int) -> None:
    folder = write_bundle(tmp_path / "bundle", coarse=coarse)
    stub.predictor = Predictor(Bundle(folder), "cpu")
    for way, place in (("--bundle", folder), ("--url", stub.url)):
        assert evaluate(way, place, "--out", tmp_path / way, "--limit", 300) == DONE
    ours, theirs = (json.loads((tmp_path / way / "scores.json").read_text()) for way in ("--bundle", "--url"))
    del ours["source"], theirs["source"]
    assert ours == theirs
    assert list(ours["coarse_groups"]) == list(COARSE[coarse])


@pytest.mark.usefixtures("quick_plots")
def test_progress_is_apart_from_scores(
    synthetic_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--bundle", synthetic_bundle, "--out", tmp_path / "report", "--limit", 300) == DONE
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "synthetic 1 on 300 images of mnist:test"
    assert lines[1].split()[:2] == ["Class", "accuracy"]
    assert lines[-1] == f"report: {tmp_path / 'report' / 'report.html'}"
    assert shown.err.splitlines() == ["256 of 300 images", "300 of 300 images"]


def test_a_refused_folder_costs_no_work(
    synthetic_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").touch()
    assert evaluate("--bundle", synthetic_bundle, "--out", tmp_path) == WRONG_INPUT
    error = capsys.readouterr().err
    assert error.startswith(f"clustnet: {tmp_path} is not an earlier report")
    assert error.count("\n") == 1


def test_a_failing_service_leaves_no_folder(stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stub.instead = [Reply(500, '{"error": "Out of memory."}')]
    assert evaluate("--url", stub.url, "--out", tmp_path / "report") == WRONG_INPUT
    message = (
        f"clustnet: The service at {stub.url} answered POST /predict with 500 Internal Server Error: Out of memory.\n"
    )
    assert capsys.readouterr().err == message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "said"),
    [("mnist", "must have the form NAME:SPLIT"), ("moons:test", "There is no data set 'moons'")],
)
def test_wrong_data_is_named(
    synthetic_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str, said: str
) -> None:
    done = evaluate("--bundle", synthetic_bundle, "--out", tmp_path / "report", data=data)
    assert (done, said in capsys.readouterr().err) == (WRONG_INPUT, True)


def test_data_of_other_classes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subtypes = [{"name": name, "coarse_label": "all", "named": True} for name in "ABCDEFGHIJ"]
    folder = write_bundle(tmp_path / "letters", coarse=1, subtypes=subtypes)
    assert evaluate("--bundle", folder, "--out", tmp_path / "report") == WRONG_INPUT
    assert "knows the classes A, B, C, D, E, F, G, H, I, J, but mnist has 0, 1" in capsys.readouterr().err


def screws(folder: Path) -> Path:
    """Colour photographs of three coarse labels in ``train/``, and of all kinds of truth in ``test/``."""
    generator = np.random.default_rng(0)
    places = [f"train/{label}/a" for label in COARSE[3]]
    places += ["test/0-3/1", "test/0-3/2", "test/4-6/batch", "test/7-9"]
    for place in places:
        (folder / place).mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 256, (40, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / place / f"{number}.png")
    return folder


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.usefixtures("quick_plots")
def test_a_folder_is_scored_as_it_is_sorted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], named: bool, stub: Stub
) -> None:
    bundle = write_bundle(tmp_path / "bundle", coarse=3, colour=True, named=named)
    stub.predictor, data = Predictor(Bundle(bundle), "cpu"), f"folder:{screws(tmp_path / 'screws')}"
    for way, place in (("--bundle", bundle), ("--url", stub.url)):
        assert evaluate(way, place, "--out", tmp_path / way, data=data) == DONE
    shown = capsys.readouterr().out
    ours, theirs = (json.loads((tmp_path / way / "scores.json").read_text()) for way in ("--bundle", "--url"))
    assert (ours["scores"], ours["known"]) == (theirs["scores"], {"class": 8 if named else 0, "coarse_label": 16})
    assert ours["notes"]
    for note in ours["notes"]:
        assert note in shown
    assert "nan" not in shown
    assert ("class_accuracy" in ours["scores"]) == named
    with (tmp_path / "--bundle" / "predictions.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert next(iter(rows[0])) == "file"
    first = rows[0]
    assert (first["file"], first["true_class"], first["true_coarse"]) == ("test/0-3/1/0.png", "1" * named, "0-3")
    assert (rows[-1]["file"], rows[-1]["true_class"], rows[-1]["true_coarse"]) == ("test/7-9/3.png", "", "7-9")


@pytest.mark.usefixtures("quick_plots")
def test_loose_images_have_no_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_bundle(tmp_path / "bundle", coarse=3, colour=True)
    (tmp_path / "loose" / "test").mkdir(parents=True)
    Image.new("RGB", (30, 30), "red").save(tmp_path / "loose" / "test" / "a.png")
    assert evaluate("--bundle", bundle, "--out", tmp_path / "report", data=f"folder:{tmp_path / 'loose'}") == DONE
    shown = capsys.readouterr().out
    assert "because no image has a known true coarse label" in shown
    assert "accuracy  " not in shown


@pytest.mark.usefixtures("quick_plots")
def test_outliers_may_lie_in_any_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_bundle(tmp_path / "bundle", coarse=3, colour=True)
    data, others = screws(tmp_path / "screws"), screws(tmp_path / "others")
    for place in ("train", "test"):
        for folder in (others / place).iterdir():
            folder.rename(folder.with_name(f"strange {folder.name}"))
    more = ("--outliers", f"folder:{others}")
    assert evaluate("--bundle", bundle, "--out", tmp_path / "report", *more, data=f"folder:{data}") == DONE
    assert "AUROC against 16 outliers of folder:test" in capsys.readouterr().out


def test_a_folder_of_other_names_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_bundle(tmp_path / "bundle", coarse=2, colour=True)
    data = f"folder:{screws(tmp_path / 'screws')}"
    assert evaluate("--bundle", bundle, "--out", tmp_path / "report", data=data) == WRONG_INPUT
    assert "holds the folder '0-3', which is not among 0-4, 5-9, 0, 1" in capsys.readouterr().err


def test_the_help_is_read_as_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "folder:PATH, whose test/ has images in folders named for their coarse labels, their classes, or" in words


@pytest.mark.usefixtures("quick_plots")
def test_outliers_and_reference_budget_are_reported(
    synthetic_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--outliers", "mnist:test", "--reference-budget", "2,1", "--limit", 300)
    assert evaluate("--bundle", synthetic_bundle, "--out", tmp_path / "report", *more) == DONE
    shown = capsys.readouterr()
    assert "AUROC against 300 outliers of mnist:test" in shown.out
    assert "Class accuracy by labelled images of each class, 20 draws from mnist:train" in shown.out
    assert "300 of 300 outliers" in shown.err
    content = json.loads((tmp_path / "report" / "scores.json").read_text())
    areas = content["outliers"]["auroc"]
    # They are the same images.
    assert areas == pytest.approx(dict.fromkeys(areas, 0.5))
    assert [row["per_class"] for row in content["reference_budget"]["class_accuracy"]] == [1, 2]


@pytest.mark.usefixtures("quick_plots")
def test_a_service_separates_outliers_as_its_bundle(synthetic_bundle: Path, stub: Stub, tmp_path: Path) -> None:
    more = ("--outliers", "mnist:train", "--limit", 300)
    for way, place in (("--bundle", synthetic_bundle), ("--url", stub.url)):
        assert evaluate(way, place, "--out", tmp_path / way, *more) == DONE
    ours, theirs = (json.loads((tmp_path / way / "scores.json").read_text()) for way in ("--bundle", "--url"))
    assert ours["outliers"] == theirs["outliers"]
    assert 0 < ours["outliers"]["auroc"]["guess"] < 1


@pytest.mark.parametrize(
    ("source", "data", "budget", "said"),
    [
        ("--url", "mnist:test", "1", "--reference-budget goes with --bundle; a service does not answer with"),
        ("--bundle", "mnist:train", "1", "scores the test split; end --data with ':test'."),
        (
            "--bundle",
            "mnist:test",
            "5,6000",
            "requests 6,000 images of each class, but the train images of mnist have",
        ),
    ],
)
def test_an_impossible_reference_budget_costs_no_work(
    synthetic_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    data: str,
    budget: str,
    said: str,
) -> None:
    place = synthetic_bundle if source == "--bundle" else "http://x"
    done = evaluate(source, place, "--out", tmp_path / "report", "--reference-budget", budget, data=data)
    error = capsys.readouterr().err
    assert (done, said in error, error.count("\n")) == (WRONG_INPUT, True, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of the arguments --bundle --url is required"),
        (["--bundle", "a", "--url", "b"], "not allowed with argument"),
        (["--bundle", "a", "--limit", "0"], "'0' is not a whole number of at least 1"),
        (["--bundle", "a", "--limit", "few"], "'few' is not a whole number of at least 1"),
        (["--bundle", "a", "--reference-budget", "5,0"], "'0' is not a whole number of at least 1"),
        (["--bundle", "a", "--reference-budget", "5,"], "'' is not a whole number of at least 1"),
        (["--bundle", "a", "--reference-budget", "many"], "'many' is not a whole number of at least 1"),
    ],
)
def test_wrong_usage_exits_with_two(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluate("--out", "report", *arguments)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_help_loads_nothing_heavy(command: str) -> None:
    code = f"""
import sys
from clustnet.cli import main
try:
    main([{command!r}, "--help"])
except SystemExit as done:
    print(done.code, *sorted(sys.modules))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    help_text, _, modules = shown.rpartition("\n0 ")
    assert help_text.startswith(f"usage: clustnet {command}")
    assert not {"onnxruntime", "matplotlib", "scipy", "sklearn", "httpx", "PIL"} & set(modules.split())


@pytest.mark.usefixtures("quick_plots")
def test_the_key_comes_from_the_environment(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTNET_API_KEY", "secret\n")
    assert evaluate("--url", stub.url, "--out", tmp_path / "report", "--limit", 300) == DONE
    assert set(stub.keys) == {"secret"}
    assert not any("secret" in path.read_text() for path in tmp_path.rglob("*.[jh]*"))
