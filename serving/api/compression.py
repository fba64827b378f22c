"""Compressed bodies: gzip, and deflate in zlib's format, as HTTP names it."""

import zlib

from serving.refusals import Refusal, quote

# zlib's code for the two formats.
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# The fastest level; probabilities hardly shrink at any.
LEVEL = 1


def decompress(content: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a body without its Content-Encoding.

    At most one byte more than ``max_bytes`` is unpacked. A second gzip member is refused, because copying the rest
    of the body for each of a million empty members would keep the service busy.

    Args:
        content: the request body.
        encoding: the Content-Encoding header, empty without one.
        max_bytes: the largest body that is unpacked.

    Raises:
        Refusal: 400 for a damaged body, 413 for a larger one, 415 for another encoding.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return content
    if encoding not in WINDOW_BITS:
        message = f"The content encoding {quote(encoding)} is unknown; send gzip, deflate or none."
        raise Refusal(415, "content_encoding", message)
    reader = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        plain = reader.decompress(content, max_bytes + 1)
    except zlib.error:
        raise Refusal(400, "content_encoding", f"The body is not {encoding}, as its header says.") from None
    if len(plain) > max_bytes:
        raise Refusal(
            413, "body_too_large", f"The body is over {max_bytes} bytes when unpacked; send less in one request."
        )
    if not reader.eof or reader.unused_data:
        fault = "goes on after its end" if reader.eof else "is cut short"
        raise Refusal(400, "content_encoding", f"The {encoding} body {fault}; send it complete, as one member.")
    return plain


def accepted_encoding(header: str) -> str | None:
    """Return the first encoding of an Accept-Encoding header that this module writes, None without one."""
    for choice in header.lower().split(","):
        name, _, parameters = choice.partition(";")
        if name.strip() in WINDOW_BITS and not _refuses(parameters):
            return name.strip()
    return None


def compress(content: bytes, encoding: str) -> bytes:
    """Compress a response as ``gzip`` or ``deflate``."""
    writer = zlib.compressobj(LEVEL, wbits=WINDOW_BITS[encoding])
    return writer.compress(content) + writer.flush()


def _refuses(parameters: str) -> bool:
    """Return whether ``q=0``, in any of its spellings, forbids the encoding."""
    name, _, value = parameters.partition("=")
    return name.strip() == "q" and value.strip().rstrip("0") in ("", "0.", ".")
