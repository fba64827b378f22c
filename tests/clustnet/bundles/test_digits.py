import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clustnet.bundles.bundle import Bundle, InputSpec
from clustnet.bundles.digits import prepare_digit
from clustnet.bundles.predictor import Predictor
from clustnet.bundles.preparation import MAX_SIDE_PIXELS, ImageError, prepare_image
from clustnet.datasets import LabelledImages
from tests.clustnet.bundles.first_preparation import first_prepare_digit
from tests.clustnet.bundles.photographs import KINDS, Kind, drawn, enlarged, photographed

ROOT = Path(__file__).parents[3]
CASES = ROOT.parent / "shared" / "cases" / "photographed"
FAULTY = KINDS[1:]

Grey = NDArray[np.uint8]


@pytest.fixture(scope="module")
def model() -> Predictor:
    return Predictor(Bundle(ROOT / "models" / "mnist"), "cpu")


def guesses(model: Predictor, images: list[Grey]) -> tuple[list[int], NDArray[np.bool_]]:
    """Return the digits that the model sees, and from which of them it abstains."""
    predictions = model.predict(np.stack(images))
    names = [int(model.bundle.manifest.class_names[index]) for index in predictions.class_probability.argmax(axis=1)]
    abstention = model.bundle.manifest.abstention
    threshold = 0.0 if abstention is None else abstention.threshold
    return names, predictions.confidence < threshold


def pages(data: LabelledImages, kind: Kind, count: int, seed: int) -> tuple[list[Grey], list[int]]:
    """Return photographs of digits, half of them drawn and half of them MNIST's, and what they show."""
    generator = np.random.default_rng(seed)
    images, digits = [], []
    for number in range(count):
        side = int(generator.integers(110, 330))
        index = int(generator.integers(len(data)))
        digit = number % 10 if number % 2 else int(data.fine[index])
        shape = side, int(side * generator.uniform(0.8, 1.3))
        ink = drawn(digit, side, generator) if number % 2 else enlarged(data.images[index], shape, generator)
        images.append(photographed(ink, kind, generator))
        digits.append(digit)
    return images, digits


def cropped(ink: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = np.nonzero(ink)
    return ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


@pytest.mark.parametrize("kind", KINDS)
def test_photographed_digits_are_read(model: Predictor, mnist_test: LabelledImages, kind: Kind) -> None:
    images, digits = pages(mnist_test, kind, 60, seed=25)
    seen, abstains = guesses(model, [prepare_digit(image) for image in images])
    wrong = np.array(seen) != digits
    assert wrong.mean() <= 0.05
    assert (wrong & ~abstains).mean() <= 0.03


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there")
@pytest.mark.parametrize("kind", FAULTY)
def test_the_given_photographs_are_read(model: Predictor, kind: Kind) -> None:
    images = []
    for digit in range(10):
        with Image.open(CASES / f"{kind}_{digit}.jpg") as image:
            images.append(prepare_digit(np.asarray(image.convert("L"))))
    assert guesses(model, images)[0] == list(range(10))


def test_mnist_digits_are_prepared_as_ever(mnist_test: LabelledImages) -> None:
    for digit in mnist_test.images[::5]:
        for image in (digit, 255 - digit):
            np.testing.assert_array_equal(prepare_digit(image), first_prepare_digit(image))


@pytest.mark.parametrize("paper", [255, 236, 200])
@pytest.mark.parametrize("inverted", [False, True])
def test_clean_pages_are_prepared_as_ever(mnist_test: LabelledImages, paper: int, inverted: bool) -> None:
    generator = np.random.default_rng(paper)
    for number in range(60):
        side = int(generator.choice([40, 64, 150, 280, 500]))
        source = mnist_test.images[int(generator.integers(len(mnist_test)))]
        ink = drawn(number % 10, side, generator) if number % 2 else enlarged(source, (side, side), generator)
        page = (paper - ink * generator.uniform(80, paper)).round().astype(np.uint8)
        image = 255 - page if inverted else page
        np.testing.assert_array_equal(prepare_digit(image), first_prepare_digit(image))


@pytest.mark.parametrize("scale", [2, 4, 10])
def test_tight_crops_are_prepared_as_ever(mnist_test: LabelledImages, scale: int) -> None:
    for digit in mnist_test.images[:60]:
        rows, columns = (np.flatnonzero(digit.any(axis=axis)) for axis in (1, 0))
        crop = Image.fromarray(255 - digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        image = np.asarray(crop.resize((crop.width * scale, crop.height * scale), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(prepare_digit(image), first_prepare_digit(image))


def test_a_blackboard_is_read(model: Predictor, mnist_test: LabelledImages) -> None:
    images, digits = pages(mnist_test, "all", 40, seed=1)
    seen, _ = guesses(model, [prepare_digit(255 - image) for image in images])
    assert np.mean(np.array(seen) == digits) >= 0.95


@pytest.mark.parametrize("kind", FAULTY)
def test_a_page_without_ink_is_blank(kind: Kind) -> None:
    for seed in range(20):
        with pytest.raises(ImageError, match="shows paper and no ink that stands out") as error:
            prepare_digit(photographed(np.zeros((220, 240)), kind, np.random.default_rng(seed)))
        assert error.value.reason == "blank_image"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", [False, True])
def test_two_digits_are_refused(kind: Kind, column: bool) -> None:
    generator = np.random.default_rng(7)
    for first, second in ((2, 3), (8, 0), (5, 6), (4, 9), (7, 3)):
        pair = [cropped(drawn(digit, 150, generator)) for digit in (first, second)]
        height, width = max(ink.shape[0] for ink in pair), max(ink.shape[1] for ink in pair)
        fields = [np.pad(ink, [(0, height - ink.shape[0]), (0, width - ink.shape[1])]) for ink in pair]
        ink = np.pad(np.concatenate([np.pad(field, 9) for field in fields], axis=1 - column), 30)
        with pytest.raises(ImageError, match="shows several digits; crop it to one") as error:
            prepare_digit(photographed(ink, kind, generator))
        assert error.value.reason == "several_digits"


def test_open_strokes_are_one_digit() -> None:
    five = np.full((100, 80), 255, np.uint8)
    five[10:16, 20:70] = 0
    five[24:90, 20:26] = 0
    five[84:90, 20:60] = 0
    np.testing.assert_array_equal(prepare_digit(five), first_prepare_digit(five))


def test_the_largest_photograph_is_bounded() -> None:
    generator = np.random.default_rng(0)
    small = Image.fromarray(photographed(drawn(5, 512, generator), "all", generator))
    image = small.resize((MAX_SIDE_PIXELS, MAX_SIDE_PIXELS)).convert("RGB")
    spec = InputSpec(shape=(28, 28), meaning="0 = paper, 255 = ink", preparation="mnist")
    tracemalloc.start()
    start = time.process_time()
    assert prepare_image(image, spec).max() >= 250
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 2
    # A few copies of 1024x1024 pixels.
    assert peak < 60 * 2**20
