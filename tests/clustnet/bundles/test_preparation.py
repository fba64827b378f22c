import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from clustnet.bundles.bundle import InputSpec
from clustnet.bundles.preparation import MAX_SIDE_PIXELS, ImageError, decode, has_colour, prepare, prepare_digit
from clustnet.datasets import LabelledImages

DIGIT = InputSpec(shape=(28, 28), meaning="0 = paper, 255 = ink", preparation="mnist")
COLOUR = InputSpec(shape=(32, 32, 3), meaning="RGB", preparation="resize")
GREY = InputSpec(shape=(32, 32), meaning="grey", preparation="resize")
ORIENTATION = 0x0112


def fit(height: int, width: int, colour: bool = True, aspect: Literal["crop", "pad"] = "crop") -> InputSpec:
    shape = (height, width, 3) if colour else (height, width)
    return InputSpec(shape=shape, meaning="0 to 255", preparation="fit", aspect=aspect)


def drawing(paper: int = 255, ink: int = 0, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """A 7, off centre."""
    image = Image.new("L", size, paper)
    ImageDraw.Draw(image).line([(20, 20), (60, 20), (35, 80)], fill=ink, width=9)
    return image


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def reference() -> np.ndarray:
    return prepare(encoded(drawing()), DIGIT)


def mass_centre(image: np.ndarray) -> np.ndarray:
    return np.array([(image.sum(axis=1 - axis) * np.arange(28)).sum() / image.sum() for axis in (0, 1)])


def test_a_drawing_is_boxed_and_centred_by_mass() -> None:
    prepared = reference()
    rows, columns = np.nonzero(prepared)
    assert (prepared.dtype, prepared.shape, prepared.max()) == (np.uint8, (28, 28), 255)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    np.testing.assert_allclose(mass_centre(prepared.astype(float)), 14, atol=0.51)


def test_mnist_digits_through_png_come_out_nearly_unchanged(mnist_test: LabelledImages) -> None:
    digits = mnist_test.images[:300]
    prepared = np.stack([prepare(encoded(Image.fromarray(digit)), DIGIT) for digit in digits])
    difference = np.abs(prepared.astype(int) - digits).mean(axis=(1, 2))
    # Of 255 levels.
    assert difference.max() < 2
    assert np.median(difference) < 0.1


def test_inverting_mnist_digits_changes_nothing(mnist_test: LabelledImages) -> None:
    for digit in mnist_test.images[:50]:
        np.testing.assert_array_equal(prepare_digit(255 - digit), prepare_digit(digit))


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95}, 2),
        ("WEBP", {"quality": 95}, 2),
    ],
)
def test_every_format_gives_the_same_digit(format: str, options: dict[str, Any], tolerance: float) -> None:
    prepared = prepare(encoded(drawing(), format, **options), DIGIT)
    assert np.abs(prepared.astype(int) - reference()).mean() <= tolerance


@pytest.mark.parametrize(("paper", "ink"), [(0, 255), (255, 0), (200, 40), (40, 200), (100, 0), (150, 255)])
def test_paper_and_ink_may_have_any_shade(paper: int, ink: int) -> None:
    prepared = prepare(encoded(drawing(paper, ink)), DIGIT)
    np.testing.assert_allclose(prepared, reference(), atol=1)


def test_transparency_is_laid_over_white() -> None:
    image = Image.new("RGBA", (120, 90), (0, 0, 0, 0))
    # Black ink on transparent black paper.
    image.putalpha(drawing(paper=0, ink=255))
    np.testing.assert_array_equal(prepare(encoded(image), DIGIT), reference())


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "RGBA", "LA"])
def test_every_colour_mode_is_read(mode: str) -> None:
    np.testing.assert_array_equal(prepare(encoded(drawing().convert(mode)), DIGIT), reference())


def test_a_palette_with_a_transparent_colour_is_read() -> None:
    image = drawing().convert("P")
    np.testing.assert_array_equal(prepare(encoded(image, transparency=255), DIGIT), reference())


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.asarray(drawing(200, 40), np.uint16) * 257)
    np.testing.assert_array_equal(np.asarray(decode(encoded(deep)).convert("L")), drawing(200, 40))
    np.testing.assert_allclose(prepare(encoded(deep), DIGIT), reference(), atol=1)


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270)],
)
def test_a_camera_held_sideways_is_turned_upright(orientation: int, undo: Image.Transpose) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned = encoded(drawing().transpose(undo), exif=exif.tobytes())
    np.testing.assert_array_equal(prepare(turned, DIGIT), reference())


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (28, 28), (300, 200)])
@pytest.mark.parametrize("shade", [0, 127, 255])
def test_a_flat_colour_is_blank(size: tuple[int, int], shade: int) -> None:
    with pytest.raises(ImageError, match="one flat colour") as error:
        prepare(encoded(Image.new("L", size, shade)), DIGIT)
    assert error.value.reason == "blank_image"


def test_the_thinnest_strokes_survive() -> None:
    wide = np.full((3, MAX_SIDE_PIXELS), 255, np.uint8)
    wide[1, 5:-5] = 0
    assert prepare_digit(wide).max() > 0
    dot = np.full((500, 500), 255, np.uint8)
    dot[250, 250] = 0
    assert (prepare_digit(dot) == 255).sum() == 400


def test_colour_images_are_resized_to_the_input() -> None:
    red = prepare(encoded(Image.new("RGB", (100, 64), "red")), COLOUR)
    assert red.shape == (32, 32, 3)
    assert (red == [255, 0, 0]).all()
    same = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(prepare(encoded(Image.fromarray(same)), COLOUR), same)


@pytest.mark.parametrize("spec", [GREY, fit(32, 32, colour=False)])
def test_grey_inputs_are_converted_before_resizing(spec: InputSpec) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    expected = Image.fromarray(pixels).convert("L")
    np.testing.assert_array_equal(prepare(encoded(Image.fromarray(pixels)), spec), expected)


def thirds(size: tuple[int, int]) -> Image.Image:
    """Return red, green and blue thirds along the longer side."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for channel, part in enumerate(np.array_split(pixels, 3, axis=int(size[0] > size[1]))):
        part[..., channel] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(90, 30), (30, 90)])
def test_fit_crops_the_middle(size: tuple[int, int]) -> None:
    prepared = prepare(encoded(thirds(size)), fit(10, 10))
    assert prepared.shape == (10, 10, 3)
    assert (prepared.argmax(axis=2) == 1).all()
    np.testing.assert_array_equal(prepared[1:-1, 1:-1], np.full((8, 8, 3), [0, 255, 0]))


def test_fit_pads_with_black() -> None:
    wide = prepare(encoded(thirds((90, 30))), fit(30, 30, aspect="pad"))
    np.testing.assert_array_equal(wide[10:20], np.asarray(thirds((90, 30)).resize((30, 10), Image.Resampling.BILINEAR)))
    assert not wide[:10].any()
    assert not wide[20:].any()
    tall = prepare(encoded(thirds((30, 90))), fit(30, 30, aspect="pad"))
    np.testing.assert_array_equal(tall, wide.transpose(1, 0, 2))


@pytest.mark.parametrize("aspect", ["crop", "pad"])
def test_an_image_of_the_aspect_is_resized(aspect: Literal["crop", "pad"]) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    expected = np.asarray(image.resize((30, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(prepare(encoded(image), fit(20, 30, aspect=aspect)), expected)


@settings(max_examples=60)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from(["crop", "pad"]),
)
def test_any_size_fits_any_input(
    height: int, width: int, rows: int, columns: int, colour: bool, aspect: Literal["crop", "pad"]
) -> None:
    spec = fit(rows, columns, colour, aspect)
    prepared = prepare(encoded(Image.new("RGB", (width, height), "white")), spec)
    assert (prepared.shape, prepared.dtype) == (spec.shape, np.uint8)
    assert (prepared == 255).any()
    assert (prepared == 255).all() or aspect == "pad"


@pytest.mark.parametrize("size", [(1, MAX_SIDE_PIXELS), (MAX_SIDE_PIXELS, 1)])
@pytest.mark.parametrize("aspect", ["crop", "pad"])
def test_the_thinnest_image_fits(size: tuple[int, int], aspect: Literal["crop", "pad"]) -> None:
    assert prepare(encoded(Image.new("RGB", size, "white")), fit(28, 28, aspect=aspect)).max() == 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("BMP", {}), ("JPEG", {}), ("WEBP", {"quality": 30})])
def test_grey_images_have_no_colour(mode: str, format: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)).convert(mode)
    if format != "PNG":
        image = image.convert("RGB")
    assert not has_colour(encoded(image, format, **options))


def test_a_tint_is_a_colour() -> None:
    grey = Image.new("RGB", (20, 20), (100, 100, 100))
    assert not has_colour(encoded(grey))
    grey.putpixel((3, 4), (100, 110, 100))
    assert has_colour(encoded(grey))
    assert has_colour(encoded(thirds((30, 10)).convert("P")))


def test_hidden_colour_is_not_seen() -> None:
    """What is transparent shows the white behind it."""
    assert not has_colour(encoded(Image.new("RGBA", (9, 9), (255, 0, 0, 0))))


def test_sixteen_bit_grey_has_no_colour() -> None:
    assert not has_colour(encoded(Image.fromarray(np.arange(0, 60_000, 100, dtype=np.uint16).reshape(20, 30))))


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<svg/>", b"\x89PNG", bytes(1000)])
def test_a_file_without_an_image_is_refused(content: bytes) -> None:
    with pytest.raises(ImageError, match="not a PNG, JPEG, WebP or BMP image; send one of these") as error:
        decode(content)
    assert error.value.reason == "not_an_image"


@pytest.mark.parametrize("format", ["GIF", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused(format: str) -> None:
    with pytest.raises(ImageError, match="not a PNG, JPEG, WebP or BMP"):
        decode(encoded(drawing(), format))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_file_cut_anywhere_is_refused(format: str) -> None:
    content = encoded(drawing(size=(40, 30)), format)
    for length in range(0, len(content) - 20, max(1, len(content) // 60)):
        with pytest.raises(ImageError) as error:
            decode(content[:length])
        assert error.value.reason in ("not_an_image", "truncated_image")


def header_of_png(width: int, height: int) -> bytes:
    """A PNG that claims its size and holds no pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(MAX_SIDE_PIXELS + 1, 1), (1, 60_000), (10_000, 10_000), (200_000, 200_000)])
def test_a_huge_image_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"{MAX_SIDE_PIXELS}") as error:
        decode(header_of_png(*size))
    assert error.value.reason == "image_too_large"


def samples() -> list[bytes]:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010E] = 6, "a description"
    image = drawing(size=(80, 90)).resize((20, 18))
    deep = Image.fromarray(np.asarray(image, np.uint16) * 257)
    return [
        *(encoded(image.convert(mode)) for mode in ("1", "L", "P", "RGBA")),
        *(encoded(image.convert("RGB"), format) for format in ("JPEG", "WEBP", "BMP")),
        *(encoded(image.convert("RGB"), format, exif=exif.tobytes()) for format in ("PNG", "JPEG", "WEBP")),
        encoded(deep),
    ]


SAMPLES = samples()


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 5))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))]) if draw(st.booleans()) else bytes(content)


# Pillow warns of damaged EXIF and reads on.
@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=500, deadline=None)
@given(damaged_files() | st.binary(max_size=200), st.sampled_from([DIGIT, COLOUR, fit(9, 30, colour=False)]))
def test_any_bytes_raise_only_image_errors(content: bytes, spec: InputSpec) -> None:
    try:
        prepared = prepare(content, spec)
        assert has_colour(content) in (True, False)
    except ImageError:
        return
    assert (prepared.dtype, prepared.shape) == (np.uint8, spec.shape)
    assert prepared.max() > 0 or spec != DIGIT


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 32), st.integers(1, 32), st.integers(0, 2**32 - 1), st.integers(1, 256))
@example(6, 4, 6, 3)
def test_any_small_picture_becomes_a_digit(height: int, width: int, seed: int, shades: int) -> None:
    picture = np.random.default_rng(seed).integers(0, shades, (height, width), dtype=np.uint8)
    refused = None
    try:
        prepared = prepare_digit(picture)
    except ImageError as error:
        refused = error.reason
    if refused:
        # A median between two shades hides one level; noise may look like two digits.
        assert refused == "several_digits" or np.ptp(picture) <= 1
    else:
        assert prepared.shape == (28, 28)
        assert prepared.max() > 0
