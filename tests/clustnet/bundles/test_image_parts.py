import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clustnet.bundles.decoding import ImageError, decode
from clustnet.bundles.image_parts import (
    MAX_CHUNKS,
    MAX_FILL_BYTES,
    MAX_RUN_BYTES,
    MAX_SCANS,
    MAX_SEGMENTS,
    PNG_SIGNATURE,
    excess_of,
)

# The length, the name and an unchecked checksum.
EMPTY_CHUNK = b"\0\0\0\0prIv\0\0\0\0"
PIXEL_CHUNK = b"\0\0\0\0IDAT" + bytes.fromhex("35af061e")
# One scan over the first channel that refines nothing, and the code that it is written in.
SCAN = b"\xff\xda\0\x08\x01\x01\0\x01\x3f\x10" + bytes(4)
CODE = b"\xff\xc4\0\x14\x10\x01" + bytes(15) + b"\xe0"
COMMENT = b"\xff\xfe\0\x02"
HEADER_BYTES = 33
FULL = r"^The JPEG has over 1000 segments, or over 64 KiB between them; save it again without its metadata\.$"


def noise(side: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def png(added: bytes = b"") -> bytes:
    content = encoded(noise(), "PNG")
    return content[:HEADER_BYTES] + added + content[HEADER_BYTES:]


def jpeg(added: bytes = b"", scans: int = 0, **options: Any) -> bytes:
    """Return a progressive JPEG with bytes after its first marker and scans before its last one."""
    content = encoded(noise(), "JPEG", progressive=True, **options)
    return content[:2] + added + content[2:-2] + CODE + SCAN * scans + content[-2:]


def run_lengths(size: int) -> bytes:
    """Return a BMP of run lengths, which are ends of lines."""
    header = struct.pack("<IHHI", size, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 9, 9, 1, 8, 1, 0, 0, 0, 0, 0)
    return (b"BM" + header).ljust(size, b"\0")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (png(EMPTY_CHUNK * MAX_CHUNKS * 2), r"^The PNG has over 10\d\d chunks; save it again without its metadata\.$"),
        (png(PIXEL_CHUNK * MAX_CHUNKS * 2), r"^The PNG has over 10\d\d chunks"),
        (jpeg(scans=MAX_SCANS), r"^The JPEG has over 50 scans; save it again as a plain JPEG or PNG\.$"),
        (jpeg(COMMENT * MAX_SEGMENTS), FULL),
        (jpeg(b"\xff" * (MAX_FILL_BYTES + 1)), FULL),
        (jpeg(b"\xff\xd0" * MAX_FILL_BYTES), FULL),
        (run_lengths(MAX_RUN_BYTES + 2), r"^The run-length encoded BMP is larger than 1 MiB; save it as PNG\.$"),
    ],
)
def test_a_file_of_too_many_parts_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ImageError, match=says) as caught:
        decode(content)
    assert caught.value.reason == "image_too_large"


@pytest.mark.parametrize(
    "content",
    [
        png(EMPTY_CHUNK * (MAX_CHUNKS - 10)),
        jpeg(scans=MAX_SCANS - 10),
        jpeg(COMMENT * (MAX_SEGMENTS - 100)),
        jpeg(b"\xff" * 1000),
        encoded(noise(), "JPEG", restart_marker_blocks=1),
    ],
)
def test_a_file_of_many_parts_is_read(content: bytes) -> None:
    assert decode(content).size == (64, 64)


def test_small_chunks_of_pixels_are_read() -> None:
    chunk = struct.pack(">I", 1024) + b"IDAT" + bytes(1028)
    assert excess_of(PNG_SIGNATURE + chunk * 16_000) is None


@pytest.mark.parametrize("whole", [png(), jpeg()])
def test_what_follows_an_image_is_not_counted(whole: bytes) -> None:
    assert excess_of(whole + (EMPTY_CHUNK + SCAN) * 10_000) is None


def test_scans_inside_of_metadata_are_not_counted() -> None:
    preview = SCAN * 1000
    assert excess_of(jpeg(b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview)) is None


def test_of_an_mpo_the_first_picture_is_read() -> None:
    content = encoded(Image.new("RGB", (8, 8)), "MPO", save_all=True, append_images=[noise()])
    image = decode(content)
    assert (image.size, image.getcolors()) == ((8, 8), [(64, (0, 0, 0))])


@pytest.mark.parametrize("content", [png(), jpeg(), run_lengths(100)])
def test_files_cut_short_have_no_excess(content: bytes) -> None:
    assert not any(excess_of(content[:size]) for size in range(len(content)))
