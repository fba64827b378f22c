import base64
import dataclasses
import io
from pathlib import Path

import numpy as np
from PIL import Image

from clustnet.datasets import UNKNOWN
from tests.training.pictures.test_confusion import labelled
from training.models.inference import Routed
from training.pictures.failures import UNSURE, WRONG, cases, tile


def routed(images: int, seed: int = 0) -> Routed:
    generator = np.random.default_rng(seed)
    routing = generator.dirichlet(np.ones(3), images).astype(np.float32)
    experts = generator.dirichlet(np.ones(2), (images, 3)).astype(np.float32)
    return Routed(routing, experts, routing)


def opened(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_wrong_images_come_surest_first() -> None:
    images, answers = labelled(), routed(200)
    found = [one for one in cases(images, answers) if one.kind == WRONG]
    predicted = answers.coarse_probability.argmax(axis=1)
    assert {one.place for one in found} == set(np.flatnonzero(predicted != images.coarse).tolist())
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)
    assert all(one.coarse != one.predicted for one in found)


def test_unsure_images_come_least_sure_first() -> None:
    images, answers = labelled(), routed(200)
    found = [one for one in cases(images, answers) if one.kind == UNSURE]
    assert found[0].place == answers.routing.max(axis=1).argmin()
    assert [one.routing for one in found] == sorted(one.routing for one in found)


def test_images_without_coarse_label_are_not_wrong() -> None:
    images = dataclasses.replace(labelled(), coarse=np.full(200, UNKNOWN))
    found = cases(images, routed(200))
    assert {one.kind for one in found} == {UNSURE}
    assert {one.coarse for one in found} == {""}


def test_cases_are_named_by_file_or_place() -> None:
    images = labelled(20)
    assert cases(images, routed(20))[0].name.startswith("image ")
    named = dataclasses.replace(images, files=tuple(f"test/{place}.png" for place in range(20)))
    one = cases(named, routed(20))[0]
    assert one.name == f"test/{one.place}.png"


def test_photographs_are_shown_as_they_are(tmp_path: Path) -> None:
    pixels = np.zeros((30, 90, 3), np.uint8)
    pixels[:, :45] = (250, 10, 10)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = dataclasses.replace(labelled(1), files=("a.png",))
    shown = tile(images, 0, tmp_path)
    assert shown is not None
    found = np.asarray(opened(shown).convert("RGB"))
    assert found.shape[:2] == (37, 112)
    assert (found[5, 5] > (200, 0, 0)).all()
    assert (found[5, -5] < 40).all()


def test_file_that_is_gone_has_no_picture(tmp_path: Path) -> None:
    assert tile(dataclasses.replace(labelled(1), files=("gone.png",)), 0, tmp_path) is None


def test_small_images_are_enlarged_as_they_are() -> None:
    images = labelled(1)
    images.images[0, :2] = 255
    shown = tile(images, 0, None)
    assert shown is not None
    found = np.asarray(opened(shown).convert("L"))
    assert found.shape == (112, 112)
    assert (found[:50] == 255).all()
    assert (found[60:] == 0).all()


def test_rows_of_numbers_have_no_picture() -> None:
    images = dataclasses.replace(labelled(2), images=np.zeros((2, 9), np.float32))
    assert tile(images, 0, None) is None
