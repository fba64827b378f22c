from typing import Any

import pytest

from onnx_export.model_card import model_card
from tests.onnx_export.conftest import KINDS
from tests.training.tiny import tiny_recipe


@pytest.fixture
def card(bundle: Any) -> str:
    text: str = (bundle("soft")[0] / "README.md").read_text(encoding="utf-8")
    return text


def test_every_score_has_images_split_and_protocol(card: str, bundle: Any) -> None:
    assert "One run, seed 0, on the 100 images of the test split." in card
    for score in bundle("soft")[1].manifest.scores:
        if score.name.startswith("expert_load/"):
            assert f"{score.value:.3f}" in card.partition("Expert load: ")[2].partition("\n")[0]
        else:
            assert f"| {score.name} | {score.value:.4f} | {score.protocol} |" in card


@pytest.mark.parametrize(
    ("kind", "logits"),
    [
        ("soft", " and the experts' logits"),
        ("hard", " and the chosen expert's logit"),
        ("clusters", ""),
        ("divided", ""),
    ],
)
def test_it_says_what_the_confidence_uses(bundle: Any, kind: str, logits: str) -> None:
    text = (bundle(kind)[0] / "README.md").read_text(encoding="utf-8")
    assert f"distance of the gate's embedding{logits} to the nearest cell's mean" in text


@pytest.mark.parametrize("kind", KINDS)
def test_each_cell_shows_its_most_probable_class(bundle: Any, kind: str) -> None:
    folder, exported = bundle(kind)
    text = (folder / "README.md").read_text(encoding="utf-8")
    for expert, rows in enumerate(exported.manifest.class_map.array()):
        cells = [f"{exported.manifest.class_names[row.argmax()]} ({row.max():.2f})" for row in rows]
        assert f"| {expert} | {' | '.join(cells)} |" in text


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("unnamed", "There are no scores: the data have no test split"),
        ("unnamed", "There are no reference images, so each cell in use is a subtype of its own"),
        ("unnamed", "subtypes, which nobody has named yet: blue/1"),
        ("unnamed", "uint8 images of 16x16x3 (RGB, 0 to 255)"),
        ("clusters", "Coarse accuracy and group accuracy are left out, because there is only one coarse label."),
        ("clusters", "the training split of mnist, without any label"),
    ],
)
def test_it_says_what_is_left_out(bundle: Any, kind: str, sentence: str) -> None:
    text = (bundle(kind)[0] / "README.md").read_text(encoding="utf-8")
    assert sentence in text
    assert "| nan |" not in text


def test_it_says_how_it_was_trained(card: str, bundle: Any) -> None:
    manifest = bundle("soft")[1].manifest
    assert card.startswith("# soft, version 1\n")
    assert "It predicts the coarse label (0-4, 5-9)." in card
    assert f"fitted on 50 labelled images of {manifest.class_map.data}; this run used no other fine label." in card
    assert manifest.class_map.data.endswith(":train")
    assert f"temperature {manifest.calibration.temperature:.3f}, fitted on the coarse labels of 200 images" in card
    assert f"under {manifest.abstention.threshold:.4f}, and the model abstains, for 1.0% of 100 images" in card
    assert "seed: 0\n" in card
    assert "uint8 images of 28x28 (0 = paper, 255 = ink)" in card
    assert "within 2.5e-07." in model_card(manifest, tiny_recipe(), None, True, 2.5e-7)


def test_it_names_encoders_of_the_partition(bundle: Any) -> None:
    manifest = bundle("soft")[1].manifest
    recipe = tiny_recipe({"partition.epochs": 1, "partition.representations": ["edges", "lite0"]})
    said = "compared images by the encoder lite0 as well, which was trained on: ImageNet-1k, images with their labels."
    assert said in model_card(manifest, recipe, None, True, 0.0)
    assert "encoder" not in model_card(manifest, tiny_recipe({"partition.epochs": 1}), None, True, 0.0)
