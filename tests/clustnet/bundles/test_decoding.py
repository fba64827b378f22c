import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin

from clustnet.bundles.decoding import PNG_SIGNATURE, ImageError, decode, has_colour

CASES = Path(__file__).parents[4] / "shared" / "cases" / "images"
FILES = [
    "anim_blankfirst_7.webp",
    "bmp_v5_alpha0_7.bmp",
    "i8in16_7.png",
    "icc_big_compressible_7.png",
    "itxt_2MB_7.png",
    "rgba_white_transp_7.png",
    "text_badcrc_7.png",
]


def seven(paper: int = 255, ink: int = 0) -> Image.Image:
    image = Image.new("L", (60, 60), paper)
    ImageDraw.Draw(image).line([(15, 12), (45, 12), (28, 50)], fill=ink, width=6)
    return image


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def chunk(name: bytes, body: bytes, damage: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ damage)


def with_chunk(added: bytes) -> bytes:
    """Return a PNG of the seven with a chunk after its header, whose 25 bytes follow the signature."""
    content = encoded(seven())
    place = len(PNG_SIGNATURE) + 25
    return content[:place] + added + content[place:]


def grey(content: bytes) -> np.ndarray:
    return np.asarray(decode(content).convert("L"))


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is not there")
@pytest.mark.parametrize("name", FILES)
def test_the_given_files_show_a_seven(name: str) -> None:
    image = grey((CASES / name).read_bytes()).astype(int)
    ink = np.abs(image - np.median(image)) > 60
    # Its upper half is as wide as the whole, its lower half is a single stroke.
    rows = np.flatnonzero(ink.any(axis=1))
    upper, lower = (np.ptp(np.flatnonzero(ink[row].any(axis=0))) for row in np.array_split(rows, 2))
    assert 0.01 < ink.mean() < 0.3
    assert upper > 1.3 * lower


LONG = zlib.compress(bytes(3 * 2**20))


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"iTXt", b"note\0\1\0\0\0" + LONG),
        chunk(b"zTXt", b"note\0\0" + LONG),
        chunk(b"iCCP", b"profile\0\0" + LONG),
        chunk(b"tEXt", b"note\0" + b"x" * 2**21),
        chunk(b"tEXt", b"note\0text", damage=1),
        chunk(b"gAMA", b"1234", damage=1),
        chunk(b"iCCP", b"profile\0\0no zlib"),
        *[chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(2**20)))] * 2,
    ],
)
def test_odd_metadata_hides_no_pixels(added: bytes) -> None:
    np.testing.assert_array_equal(grey(with_chunk(added)), np.asarray(seven()))
    assert not has_colour(with_chunk(added))


def test_orientation_survives_damaged_texts() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    content = encoded(seven().transpose(Image.Transpose.ROTATE_180), exif=exif.tobytes())
    place = len(PNG_SIGNATURE) + 25
    content = content[:place] + chunk(b"tEXt", b"a\0b", damage=1) + content[place:]
    np.testing.assert_array_equal(grey(content), np.asarray(seven()))


def test_texts_that_unpack_to_gigabytes_are_bounded() -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join([packer.compress(bytes(2**20)) for _ in range(256)]) + packer.flush()
    content = with_chunk(chunk(b"zTXt", b"note\0\0" + bomb) * 8)
    tracemalloc.start()
    start = time.process_time()
    np.testing.assert_array_equal(grey(content), np.asarray(seven()))
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 1
    assert peak < 20 * 2**20


@pytest.mark.parametrize("length", [100, 150])
def test_cut_pixels_are_still_refused(length: int) -> None:
    content = with_chunk(chunk(b"tEXt", b"note\0text", damage=1))
    with pytest.raises(ImageError, match="cut short or damaged"):
        decode(content[:length])


def test_a_damaged_header_is_still_refused() -> None:
    content = bytearray(encoded(seven()))
    content[len(PNG_SIGNATURE) + 12] ^= 1
    with pytest.raises(ImageError, match="not a PNG"):
        decode(bytes(content))


def test_white_ink_on_nothing_is_laid_over_black() -> None:
    image = Image.new("RGBA", (60, 60), (255, 255, 255, 0))
    image.putalpha(seven(paper=0, ink=255))
    np.testing.assert_array_equal(grey(encoded(image)), np.asarray(seven(paper=0, ink=255)))


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_nothing_at_all_is_white(format: str) -> None:
    assert (grey(encoded(Image.new("RGBA", (20, 20), (9, 9, 9, 0)), format)) == 255).all()


def test_a_bmp_without_alpha_is_opaque() -> None:
    image = seven().convert("RGBA")
    image.putalpha(0)
    np.testing.assert_array_equal(grey(bitmap_with_alpha(image)), np.asarray(seven()))


def bitmap_with_alpha(image: Image.Image) -> bytes:
    """Return a BMP with a header of version 5, whose masks name an alpha."""
    pixels = np.asarray(image)[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 124, image.width, image.height, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    header += masks + bytes(124 - len(header) - len(masks))
    return b"BM" + struct.pack("<IHHI", 14 + 124 + len(pixels), 0, 0, 14 + 124) + header + pixels


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_grey_of_few_bits_fills_the_range(bits: int) -> None:
    deep = np.asarray(seven(255, 30), np.uint16) << (bits - 8)
    np.testing.assert_array_equal(grey(encoded(Image.fromarray(deep))), np.asarray(seven(255, 30)))


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
@pytest.mark.parametrize("blank", [1, 3])
def test_blank_first_frames_are_passed_over(format: str, blank: int) -> None:
    frames = [Image.new("RGB", (60, 60), (255 - shade,) * 3) for shade in range(blank)]
    options = {"lossless": True} if format == "WEBP" else {}
    content = encoded(
        frames[0],
        format,
        save_all=True,
        append_images=[*frames[1:], seven().convert("RGB")],
        duration=100,
        **options,
    )
    np.testing.assert_array_equal(grey(content), np.asarray(seven()))


def test_an_animation_shows_its_first_picture() -> None:
    content = encoded(seven(), "WEBP", save_all=True, append_images=[seven(0, 255)], duration=100, lossless=True)
    np.testing.assert_array_equal(grey(content), np.asarray(seven()))


def test_few_frames_are_looked_at() -> None:
    blank = [Image.new("RGB", (60, 60), (shade,) * 3) for shade in range(20)]
    content = encoded(
        blank[0], "WEBP", save_all=True, append_images=[*blank[1:], seven().convert("RGB")], duration=9, lossless=True
    )
    assert (grey(content) == 0).all()


def test_a_profile_is_not_needed() -> None:
    information = PngImagePlugin.PngInfo()
    information.add_text("note", "x" * 2**21, zip=True)
    np.testing.assert_array_equal(grey(encoded(seven(), pnginfo=information)), np.asarray(seven()))
