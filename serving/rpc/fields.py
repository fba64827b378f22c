"""Counts a message's fields before it is parsed: an empty field of two bytes takes eighty once it is an object."""

from typing import Any

from serving.v2.tensors import refusal

# The most fields of a message. A request has some twenty; packed values count as one.
MAX_FIELDS = 1000
# The sizes of the wire types that have no length before them.
SIZES = {1: 8, 5: 4}


def check_fields(content: bytes, kind: Any) -> None:
    """Refuse a message, described by ``kind``, that has too many fields; malformed ones are left to the parser."""
    if _counted(memoryview(content), kind, 0) > MAX_FIELDS:
        raise refusal("wrong_count", f"The message has over {MAX_FIELDS} fields; send values packed, or raw.")


def _counted(content: memoryview, kind: Any, fields: int) -> int:
    """Return ``fields`` plus the fields of a message and of all messages in it; stop once over ``MAX_FIELDS``."""
    place = 0
    while place < len(content) and fields <= MAX_FIELDS:
        fields += 1
        key, place = _number(content, place)
        if key % 8 == 2:
            length, place = _number(content, place)
            field = kind.fields_by_number.get(key // 8)
            if field is not None and field.message_type is not None:
                fields = _counted(content[place : place + length], field.message_type, fields)
            place += length
        elif key % 8:
            place += SIZES.get(key % 8, 0)
        else:
            _, place = _number(content, place)
    return fields


def _number(content: memoryview, place: int) -> tuple[int, int]:
    """Return the varint at a place, which has seven bits per byte, and the place after it."""
    number = 0
    for index, byte in enumerate(content[place : place + 10]):
        number |= (byte & 127) << 7 * index
        if byte < 128:
            return number, place + index + 1
    return number, len(content)
