import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clustnet.cli import DONE, WRONG_INPUT, main
from clustnet.datasets import LabelledImages, load_folder
from clustnet.errors import UserError
from evaluation.files.evaluation import FileEvaluation, evaluate_files, score_here
from evaluation.report.scoring import evaluate
from evaluation.sources.bundle_source import BundleSource
from tests.evaluation.image_files import write_parquet, write_pictures
from tests.evaluation.object_store import serving_bucket
from tests.synthetic import COARSE, write_bundle


def scored(pattern: object, bundle: Path, limit: int | None = None) -> FileEvaluation:
    return evaluate_files(str(pattern), bundle, "cpu", score_here, limit, lambda parts, *_: parts)


@pytest.mark.parametrize("coarse", [1, 2, 3])
def test_files_score_as_the_arrays(tmp_path: Path, mnist_test: LabelledImages, coarse: int) -> None:
    bundle = write_bundle(tmp_path / "bundle", coarse=coarse)
    path = write_parquet(tmp_path / "digits.parquet", mnist_test.first(1000), row_group=512)
    found = scored(path, bundle)
    held = evaluate(BundleSource(bundle, "cpu"), mnist_test.first(1000))
    assert found.scores == held.scores
    assert (found.info, found.source) == (held.info, held.source)
    assert [mistake[:4] for mistake in found.tally.mistakes] == [mistake[:4] for mistake in held.tally.mistakes]
    limited = evaluate(BundleSource(bundle, "cpu"), mnist_test.first(600))
    assert scored(path, bundle, 600).scores == limited.scores


@pytest.mark.parametrize("named", [True, False])
def test_colour_folders_of_coarse_labels_are_scored(tmp_path: Path, named: bool) -> None:
    bundle = write_bundle(tmp_path / "bundle", coarse=3, colour=True, named=named)
    for number, label in enumerate(COARSE[3]):
        (tmp_path / "images" / label).mkdir(parents=True)
        for place in range(number + 2):
            pixels = np.random.default_rng(place).integers(0, 256, (40, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{place}.png")
    found = scored(tmp_path / "images" / "*" / "*.png", bundle)
    assert found.tally.coarse_confusion.sum(axis=1).tolist() == [2, 3, 4]
    data = load_folder("train", tmp_path / "images", found.info.input, found.info.folder_names)
    held = evaluate(BundleSource(bundle, "cpu"), data.take(np.argsort(data.files)))
    assert found.scores == held.scores
    assert "coarse_accuracy" in found.scores
    assert "class_accuracy" not in found.scores


def test_object_storage_is_read_like_a_folder(
    synthetic_bundle: Path, tmp_path: Path, mnist_test: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "digits" / "a.parquet", mnist_test.first(600))
    (tmp_path / "digits" / "b.parquet").write_bytes(b"torn")
    with serving_bucket(tmp_path) as address:
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION"):
            monkeypatch.setenv(f"AWS_{name}", "made-up")
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        found = scored("s3://bucket/digits/*.parquet", synthetic_bundle)
    assert found.scores == scored(path, synthetic_bundle).scores
    assert [fault.file for fault in found.unread.listed] == ["bucket/digits/b.parquet"]


def test_nothing_to_read_is_refused(synthetic_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"Nothing in .* can be read; the first fault is in .*a\.parquet: "):
        scored(tmp_path / "*.parquet", synthetic_bundle)


@pytest.mark.usefixtures("quick_plots")
def test_the_report_lists_what_was_not_read(
    synthetic_bundle: Path, tmp_path: Path, mnist_test: LabelledImages, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pictures(tmp_path / "digits", mnist_test.first(60))
    (folder / "4" / "torn.png").write_bytes(b"<html>")
    data, out = f"{folder}/*/*.png", tmp_path / "report"
    assert main(["evaluate", "--bundle", str(synthetic_bundle), "--data", data, "--out", str(out)]) == DONE
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == f"synthetic 1 on 60 images of {data}"
    assert lines[-2] == "not read: 1 files or images, see unread.csv in the report's folder"
    assert shown.err == "61 of 61 images\n"
    heading, line = (out / "unread.csv").read_text().splitlines()
    assert heading == "file,rows,reason"
    assert line.startswith(f'{folder}/4/torn.png,,"The file is not ')
    content = json.loads((out / "scores.json").read_text())
    assert (content["data"], content["split"], content["images"], content["unread"]) == (data, None, 60, 1)
    page = (out / "report.html").read_text()
    assert "60 images of" in page
    assert "1 files or images; unread.csv lists the first 1,000 of them" in page
    assert not (out / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "http://x", "--data", "*.png"], "--url goes with data of the form NAME:SPLIT"),
        (["--bundle", "b", "--data", "*.png", "--outliers", "mnist:test"], "--outliers goes with data of the form"),
        (["--bundle", "b", "--data", "*.png", "--reference-budget", "1"], "--reference-budget goes with data of"),
        (["--bundle", "b", "--data", "*.png", "--engine", "ray", "--device", "cuda"], "--engine ray runs on CPUs"),
        (["--bundle", "b", "--data", "mnist:test", "--engine", "ray"], "--engine ray reads files"),
        (["--bundle", "b", "--data", "*.png", "--workers", "2"], "--workers goes with --engine ray"),
    ],
)
def test_options_that_disagree_cost_no_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["evaluate", "--out", str(tmp_path / "report"), *arguments]) == WRONG_INPUT
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("quick_plots")
def test_strict_ends_with_a_code(
    synthetic_bundle: Path, tmp_path: Path, mnist_test: LabelledImages, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "digits", tmp_path / "report"
    write_parquet(folder / "a.parquet", mnist_test.first(60))
    table = pq.read_table(folder / "a.parquet")
    pq.write_table(table.append_column("label", table["label"]), folder / "b.parquet")
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/c\xe9.parquet"))
    odd.write_bytes(b"torn")
    words = ["evaluate", "--bundle", str(synthetic_bundle), "--data", f"{folder}/*", "--out", str(out)]
    assert main(words) == DONE
    heading, first, second = csv.reader((out / "unread.csv").read_text().splitlines())
    assert heading == ["file", "rows", "reason"]
    assert first == [f"{folder}/b.parquet", "0 to 59", "There are 2 columns 'label'; leave one."]
    assert second[0] == f"{folder}/c\\xe9.parquet"
    capsys.readouterr()
    assert main([*words, "--strict"]) == WRONG_INPUT
    assert capsys.readouterr().err.endswith("2 files or images were not read, and --strict was given; see above.\n")
    assert json.loads((out / "scores.json").read_text())["images"] == 60
    (folder / "b.parquet").unlink()
    odd.unlink()
    assert main([*words, "--strict"]) == DONE


def test_a_folder_that_cannot_be_written_costs_no_work(
    synthetic_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--bundle", str(synthetic_bundle), "--data", "mnist:test", "--out", "/proc/none/report"]
    assert main(words) == WRONG_INPUT
    assert capsys.readouterr().err.startswith("clustnet: /proc/none cannot be written, as /proc cannot (")
