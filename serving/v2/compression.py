"""Compressed bodies: gzip, and deflate in zlib's format, as HTTP names it."""

import zlib

from serving.api.inputs import quote
from serving.refusals import Refusal

WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # zlib's code for the two formats
FAST = 1  # the level; probabilities hardly shrink at any


def decompress(content: bytes, encoding: str, most: int) -> bytes:
    """Undo a request's Content-Encoding.

    Never more than ``most`` bytes are unpacked. A second gzip member is refused, because copying the rest
    of the body for each of a million empty members would keep the service busy.

    Args:
        content: the request body.
        encoding: the header, empty without one.
        most: the largest body that is unpacked.

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
        plain = reader.decompress(content, most + 1)
    except zlib.error:
        raise Refusal(400, "content_encoding", f"The body is not {encoding}, as its header says.") from None
    if len(plain) > most:
        raise Refusal(
            413, "body_too_large", f"The body is over {most} bytes unpacked; send fewer images in one request."
        )
    if not reader.eof or reader.unused_data:
        fault = "goes on after its end" if reader.eof else "is cut short"
        raise Refusal(400, "content_encoding", f"The {encoding} body {fault}; send it whole, as one member.")
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
    writer = zlib.compressobj(FAST, wbits=WINDOW_BITS[encoding])
    return writer.compress(content) + writer.flush()


def _refuses(parameters: str) -> bool:
    """Tell whether ``q=0``, in any of its spellings, forbids the encoding."""
    name, _, value = parameters.partition("=")
    return name.strip() == "q" and value.strip().rstrip("0") in ("", "0.", ".")
