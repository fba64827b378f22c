"""Uploads: the one file of a multipart form."""

from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from serving.refusals import Refusal, quote

# Only the file is wanted, and each further part costs time to read.
MAX_PARTS = 100
HOW = "send multipart/form-data with one file in the field 'image'"


def read_upload(content_type: str, content: bytes) -> bytes:
    """Return the content of the file in the field ``image``, which must be the form's only field.

    Args:
        content_type: the request's Content-Type, with its boundary.
        content: the request body.

    Raises:
        Refusal: 400 for a form that cannot be parsed, 415 for another content type, 422 for a form
            without the file, with more than the file, or with text in its place.
    """
    parts = _parts(content_type, content)
    if not parts:
        raise Refusal(422, "wrong_keys", f"The form lacks the field 'image'; {HOW}.")
    for name, _ in parts:
        if name != "image":
            raise Refusal(422, "wrong_keys", f"The form has the unknown field {quote(name)}; {HOW}.")
    if len(parts) > 1:
        raise Refusal(422, "wrong_count", f"The field 'image' occurs {len(parts)} times; {HOW}.")
    file = parts[0][1]
    if file is None:
        raise Refusal(422, "not_an_image", f"The field 'image' is text, not a file; {HOW}.")
    if not file:
        raise Refusal(422, "not_an_image", "The file in the field 'image' is empty; send it whole.")
    return file


def _parts(content_type: str, content: bytes) -> list[tuple[str, bytes | None]]:
    """Return the name of each field of the form, with the content of a file or None for text.

    A field without a file name is a file as well, unless it is text: some clients send ``filename*`` alone, which RFC
    7578 forbids and the parser passes over.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Refusal(415, "content_type", f"The content type is {quote(content_type)}; {HOW}.")
    if not options.get(b"boundary"):
        raise Refusal(400, "malformed_form", "The content type names no boundary; let your HTTP client set it.")
    parts: list[tuple[str, bytes | None]] = []
    ended: list[bool] = []

    def keep(part: Any) -> None:
        if len(parts) == MAX_PARTS:
            raise Refusal(422, "wrong_count", f"The form has over {MAX_PARTS} parts; {HOW}.")
        name = (part.field_name or b"").decode("utf-8", "replace")
        parts.append((name, _content(part)))

    # The body is in memory already, so a copy on disk gains nothing.
    config = {"MAX_MEMORY_FILE_SIZE": len(content) + 1}
    try:
        parser = FormParser(
            "multipart/form-data", keep, keep, lambda: ended.append(True), options[b"boundary"], config=config
        )
        parser.write(_without_preamble(content, options[b"boundary"]))
        parser.finalize()
    except FormParserError as error:
        raise Refusal(400, "malformed_form", f"The form is malformed: {error}.") from None
    if not ended:
        raise Refusal(400, "malformed_form", "The form is cut short; send it whole.")
    return parts


def _without_preamble(content: bytes, boundary: bytes) -> bytes:
    """Return the form from its first boundary on; RFC 2046 lets text stand before it.

    Raises:
        Refusal: there is text, but no boundary.
    """
    delimiter = b"--" + boundary
    if not content or content.startswith(delimiter):
        return content
    _, found, parts = content.partition(b"\r\n" + delimiter)
    if not found:
        raise Refusal(
            400, "malformed_form", "The form is malformed: the boundary that its content type names is not in it."
        )
    return delimiter + parts


def _content(part: File | Field) -> bytes | None:
    """Return the content of a file, None for text."""
    if isinstance(part, File):
        part.file_object.seek(0)
        content: bytes = part.file_object.read()
        return content
    value: bytes = part.value or b""
    return None if _is_text(value) else value


def _is_text(value: bytes) -> bool:
    """Return whether bytes are text, which no image file is."""
    try:
        return "\0" not in value.decode()
    except UnicodeDecodeError:
        return False
