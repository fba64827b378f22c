from pathlib import Path

import pytest
from PIL import Image

from clustnet.bundles.predictor import Predictor
from clustnet.bundles.preparation import prepare
from clustnet.cli import DONE, WRONG_INPUT, main
from clustnet.datasets import LabelledImages
from tests.synthetic import THRESHOLD


@pytest.fixture
def files(tmp_path: Path, mnist_test: LabelledImages) -> list[Path]:
    paths = [tmp_path / f"digit {index}.png" for index in range(3)]
    for path, image in zip(paths, mnist_test.images, strict=False):
        Image.fromarray(image).save(path)
    return paths


def predict(bundle: Path, *files: Path) -> int:
    return main(["predict", "--bundle", str(bundle), "--device", "cpu", *map(str, files)])


def test_one_line_a_file(
    synthetic_bundle: Path, predictor: Predictor, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(synthetic_bundle, *files) == DONE
    shown = capsys.readouterr()
    heading, *lines = shown.out.splitlines()
    assert heading.split() == ["file", "coarse", "label", "probability", "expert", "guess", "probability", "confidence"]
    assert shown.err == ""
    for file, line in zip(files, lines, strict=True):
        found = predictor.predict(prepare(file.read_bytes(), predictor.manifest.input)[None])
        positive, classes = found.positive_probability[0], found.class_probability[0]
        assert line.startswith(str(file))
        assert line.removeprefix(str(file)).split() == [
            "5-9" if positive > 0.5 else "0-4",
            f"{max(positive, 1 - positive):.4f}",
            str(found.routing[0].argmax()),
            str(classes.argmax()),
            f"{classes.max():.4f}",
            f"{found.confidence[0]:.4f}",
            *(["(abstains)"] if found.confidence[0] < THRESHOLD else []),
        ]


def test_bad_files_are_named_and_the_others_predicted(
    synthetic_bundle: Path, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, blank, missing = tmp_path / "notes.txt", tmp_path / "blank.png", tmp_path / "missing.png"
    text.write_text("no image")
    Image.new("L", (20, 20), 255).save(blank)
    assert predict(synthetic_bundle, text, files[0], blank, missing, tmp_path, files[1]) == WRONG_INPUT
    shown = capsys.readouterr()
    assert [line.split("  ")[0] for line in shown.out.splitlines()[1:]] == [str(files[0]), str(files[1])]
    assert shown.err.splitlines() == [
        f"{text}: The file is not a PNG, JPEG, WebP or BMP image; send one of these.",
        f"{blank}: The image is one flat colour, so there is nothing to read; draw a digit.",
        f"{missing}: No such file or directory; name image files.",
        f"{tmp_path}: Is a directory; name image files.",
        "clustnet: 4 of 6 files could not be predicted; see above.",
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
    assert "required: FILE" in capsys.readouterr().err
