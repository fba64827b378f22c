import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clustnet.bundles.preparation import prepare
from clustnet.cli import DONE, WRONG_INPUT, main
from clustnet.datasets import LabelledImages
from evaluation.sources.bundle_source import BundleSource
from tests.synthetic import THRESHOLD, write_bundle


@pytest.fixture
def files(tmp_path: Path, mnist_test: LabelledImages) -> list[Path]:
    paths = [tmp_path / f"digit {index}.png" for index in range(3)]
    for path, image in zip(paths, mnist_test.images, strict=False):
        Image.fromarray(image).save(path)
    return paths


def predict(bundle: Path, *files: Path, more: Sequence[str] = ()) -> int:
    return main(["predict", "--bundle", str(bundle), "--device", "cpu", *more, *map(str, files)])


@pytest.mark.parametrize("coarse", [1, 2, 3])
def test_one_line_a_file(tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture[str], coarse: int) -> None:
    bundle = write_bundle(tmp_path / "bundle", coarse=coarse)
    assert predict(bundle, *files) == DONE
    shown = capsys.readouterr()
    heading, *lines = shown.out.splitlines()
    of_coarse = ["coarse", "label", "probability"] if coarse > 1 else []
    assert heading.split() == ["file", *of_coarse, "guess", "probability", "expert", "confidence"]
    assert shown.err == ""
    source = BundleSource(bundle, "cpu")
    for file, line in zip(files, lines, strict=True):
        found = source.answer(prepare(file.read_bytes(), source.info.input)[None])
        assert line.startswith(str(file))
        coarse_cells = [found.coarse_label[0], f"{found.coarse_probability.max():.4f}"] if coarse > 1 else []
        assert line.removeprefix(str(file)).split() == [
            *coarse_cells,
            str(found.guess[0]),
            f"{found.guess_probability[0]:.4f}",
            str(found.expert[0]),
            f"{found.confidence[0]:.4f}",
            *(["(abstains)"] if found.confidence[0] < THRESHOLD else []),
        ]


def test_csv_has_every_probability(tmp_path: Path, files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_bundle(tmp_path / "bundle", coarse=3, named=False)
    assert predict(bundle, *files, more=["--csv", "-"]) == DONE
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(lines[0])[:5] == ["file", "coarse", "coarse_probability", "guess", "guess_probability"]
    assert [line["file"] for line in lines] == [str(file) for file in files]
    source = BundleSource(bundle, "cpu")
    found = source.answer(np.stack([prepare(file.read_bytes(), source.info.input) for file in files]))
    for row, line in enumerate(lines):
        assert line["guess"] == source.info.class_names[found.guess[row]]
        assert line["guess"].startswith(f"{line['coarse']}/")
        for label, probability in zip(found.coarse_labels, found.coarse_probability[row], strict=True):
            assert np.float32(line[f"coarse_probability/{label}"]) == probability
        for name, probability in zip(source.info.class_names, found.class_probability[row], strict=True):
            assert np.float32(line[f"probability/{name}"]) == probability


def test_bad_files_are_named(
    synthetic_bundle: Path, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, blank, missing = tmp_path / "notes.txt", tmp_path / "blank.png", tmp_path / "missing.png"
    text.write_text("no image")
    Image.new("L", (20, 20), 255).save(blank)
    assert predict(synthetic_bundle, text, files[0], blank, missing, files[1]) == WRONG_INPUT
    shown = capsys.readouterr()
    assert [line.split("  ")[0] for line in shown.out.splitlines()[1:]] == [str(files[0]), str(files[1])]
    assert shown.err.splitlines() == [
        f"{text}: The file is not a PNG, JPEG, WebP or BMP image; send one of these.",
        f"{blank}: The image is one flat colour, so there is nothing to read; draw a digit.",
        f"{missing}: No such file or directory; name image files.",
        "clustnet: 3 of 5 files could not be predicted; see above.",
    ]


def test_only_bad_files_print_no_table(
    synthetic_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(synthetic_bundle, tmp_path / "missing.png") == WRONG_INPUT
    assert capsys.readouterr().out == ""


def test_a_bad_bundle_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(tmp_path, tmp_path / "x.png") == WRONG_INPUT
    assert f"clustnet: {tmp_path} is not a bundle" in capsys.readouterr().err


def test_a_file_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "--bundle", "models/mnist"])
    assert "required: IMAGES" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("more", [[], ["--csv", "-"]])
def test_odd_names_lose_no_row(synthetic_bundle: Path, files: list[Path], encoding: str, more: list[str]) -> None:
    folder = os.fsencode(files[0].parent)
    names = [b"caf\xe9.png", "\u00fc.png".encode(), b"z.png"]
    for name in names:
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(files[0].read_bytes())
    (files[0].parent / "torn.png").write_bytes(b"torn")
    paths = [folder + b"/" + name for name in (names[0], b"torn.png", *names[1:])]
    command = [sys.executable, "-m", "clustnet", "predict", "--bundle", str(synthetic_bundle), *more]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    done = subprocess.run([*map(os.fsencode, command), *paths], env=environment, capture_output=True)
    assert done.returncode == WRONG_INPUT
    assert b"Traceback" not in done.stderr
    second = "\\xfc.png" if encoding == "ascii" else "\u00fc.png"
    rows = done.stdout.decode(encoding).splitlines()[1:]
    found = [row.split("/")[-1].partition(".png")[0] + ".png" for row in rows]
    assert found == ["caf\\xe9.png", second, "z.png"]


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_folders_and_patterns_are_searched(synthetic_bundle: Path, files: list[Path], tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.csv"
    for place, file in zip(("a/b/1.png", "a/2.png", ".hidden/3.png"), files, strict=True):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        file.rename(folder / place)
    (folder / "notes.txt").touch()
    assert predict(synthetic_bundle, folder, more=["--csv", str(out)]) == DONE
    found = table(out)
    assert [Path(row["file"]).relative_to(folder).as_posix() for row in found] == ["a/2.png", "a/b/1.png"]
    assert predict(synthetic_bundle, folder / "**" / "[12].png", more=["--csv", str(out)]) == DONE
    assert table(out) == found


def test_json_says_the_same(synthetic_bundle: Path, files: list[Path], tmp_path: Path) -> None:
    assert predict(synthetic_bundle, *files, more=["--csv", str(tmp_path / "out.csv")]) == DONE
    assert predict(synthetic_bundle, *files, more=["--json", str(tmp_path / "out.json")]) == DONE
    rows, objects = table(tmp_path / "out.csv"), json.loads((tmp_path / "out.json").read_text())
    for row, one in zip(rows, objects, strict=True):
        guess = row["coarse"], row["guess"]
        assert (row["file"], *guess) == (one["file"], one["coarse"]["label"], one["guess"]["label"])
        assert np.float32(row["confidence"]) == np.float32(one["confidence"])
        assert bool(int(row["abstain"])) == one["abstain"]
        assert sum(one["class_probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_parquet_rows_are_named(
    synthetic_bundle: Path, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = [files[0].read_bytes(), b"torn", files[1].read_bytes()]
    # Labels of other data are no fault.
    pq.write_table(pa.table({"image": content, "label": ["dog", "cat", "cow"]}), tmp_path / "in.parquet")
    out = tmp_path / "out.csv"
    assert predict(synthetic_bundle, tmp_path / "in.parquet", more=["--csv", str(out)]) == WRONG_INPUT
    assert [row["file"] for row in table(out)] == [f"{tmp_path}/in.parquet:0", f"{tmp_path}/in.parquet:2"]
    assert f"{tmp_path}/in.parquet:1: The file is not a PNG" in capsys.readouterr().err


def test_nothing_found_writes_no_file(
    synthetic_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    assert predict(synthetic_bundle, tmp_path / "in", more=["--csv", str(tmp_path / "out.csv")]) == WRONG_INPUT
    assert f"There is no image file in {tmp_path}/in" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()
