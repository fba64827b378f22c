from typing import Any

import pytest

from onnx_export.model_card import model_card
from tests.training.tiny import tiny_recipe


@pytest.fixture
def card(bundle: Any) -> str:
    text: str = (bundle("soft")[0] / "README.md").read_text(encoding="utf-8")
    return text


def test_every_score_stands_there_with_images_split_and_protocol(card: str, bundle: Any) -> None:
    assert "One run, seed 0, on the 100 images of the test split." in card
    for score in bundle("soft")[1].manifest.scores:
        if score.name.startswith("expert_load/"):
            assert f"{score.value:.3f}" in card.partition("Expert load: ")[2].partition("\n")[0]
        else:
            assert f"| {score.name} | {score.value:.4f} | {score.protocol} |" in card


@pytest.mark.parametrize(("kind", "logits"), [("soft", "the experts' logits"), ("hard", "the chosen expert's logit")])
def test_it_says_what_the_confidence_is_made_of(bundle: Any, kind: str, logits: str) -> None:
    text = (bundle(kind)[0] / "README.md").read_text(encoding="utf-8")
    assert f"distance of the gate's embedding and {logits} to the nearest cell's mean" in text


def test_each_cell_shows_its_most_probable_class(card: str, bundle: Any) -> None:
    manifest = bundle("soft")[1].manifest
    for expert, pair in enumerate(manifest.class_map.array()):
        cells = [f"{manifest.fine_classes[row.argmax()]} ({row.max():.2f})" for row in pair]
        assert f"| {expert} | {cells[0]} | {cells[1]} |" in card


def test_it_says_how_it_was_trained_and_where_it_ends(card: str, bundle: Any) -> None:
    manifest = bundle("soft")[1].manifest
    assert card.startswith("# soft, version 1\n")
    assert "It tells '0-4' from '5-9'" in card
    assert f"fitted on 50 labelled images of {manifest.class_map.data}; this run used no other fine label." in card
    assert manifest.class_map.data.endswith(":train")
    assert f"temperature {manifest.calibration.temperature:.3f}, fitted on the coarse labels of 200 images" in card
    assert f"under {manifest.abstention.threshold:.4f}, and the model abstains, for 1.0% of 100 images" in card
    assert "seed: 0\n" in card
    assert "uint8 images of 28x28 (0 = paper, 255 = ink)" in card
    assert "within 2.5e-07." in model_card(manifest, tiny_recipe(), 2.5e-7)
