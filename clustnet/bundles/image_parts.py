"""Limits on the number of parts in an image file; each takes time to read, however few bytes and pixels there are."""

import re
from collections.abc import Iterator

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START, BMP_START = b"\xff\xd8\xff", b"BM"
# A chunk's length and name precede its content, and a checksum follows it.
CHUNK_HEADER_BYTES, CHUNK_BYTES = 8, 12
# The chunks that a PNG may have, besides one for each KiB of the file: encoders store pixels in chunks of a few KiB.
MAX_CHUNKS, CHUNK_SHARE_BYTES = 1000, 1024
# A progressive JPEG has about ten scans; each may take 20 ms, as it passes over all pixels.
MAX_SCANS = 50
# A colour profile or long metadata may take 255 segments.
MAX_SEGMENTS = 1000
# The bytes between the segments before the first scan, which Pillow reads one by one.
MAX_FILL_BYTES = 2**16
# The size of a run-length encoded BMP, which Pillow reads byte by byte.
MAX_RUN_BYTES = 2**20
# A JPEG marker that starts a segment; the others occur inside a scan.
MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
SCAN, END = b"\xff\xda", b"\xff\xd9"
# Where a BMP states its compression, and the values for run-length encoding.
COMPRESSION = slice(30, 34)
RUN_LENGTHS = (b"\x01\0\0\0", b"\x02\0\0\0")


def excess_of(content: bytes) -> str | None:
    """Return a sentence about what an image file has too much of; None if it can be read in a second or two."""
    if content.startswith(PNG_SIGNATURE):
        return _png_excess(content)
    if content.startswith(JPEG_START):
        return _jpeg_excess(content)
    if content.startswith(BMP_START) and content[COMPRESSION] in RUN_LENGTHS and len(content) > MAX_RUN_BYTES:
        return f"The run-length encoded BMP is larger than {MAX_RUN_BYTES >> 20} MiB; save it as PNG."
    return None


def _png_excess(content: bytes) -> str | None:
    most = MAX_CHUNKS + len(content) // CHUNK_SHARE_BYTES
    place = len(PNG_SIGNATURE)
    for _ in range(most):
        if content[place + 4 : place + CHUNK_HEADER_BYTES] in (b"", b"IEND"):
            return None
        place += CHUNK_BYTES + int.from_bytes(content[place : place + 4])
    return f"The PNG has over {most} chunks; save it again without its metadata."


def _jpeg_excess(content: bytes) -> str | None:
    scans = fill = 0
    for segments, (marker, passed) in enumerate(_segments(content), 1):
        fill += 0 if scans else passed
        scans += marker == SCAN
        if scans > MAX_SCANS:
            return f"The JPEG has over {MAX_SCANS} scans; save it again as a plain JPEG or PNG."
        if segments > MAX_SEGMENTS or fill > MAX_FILL_BYTES:
            between = f"{MAX_FILL_BYTES >> 10} KiB between them"
            return f"The JPEG has over {MAX_SEGMENTS} segments, or over {between}; save it again without its metadata."
    return None


def _segments(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the marker of each segment of a JPEG, and the number of bytes between it and the previous segment."""
    place = 2
    while found := MARKER.search(content, place):
        yield found[0], found.start() - place
        if found[0] == END:
            return
        place = found.end() + int.from_bytes(content[found.end() : found.end() + 2])
