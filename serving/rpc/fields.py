"""A message's fields are counted before it is parsed: an empty field of two bytes takes eighty once it is an object."""

from typing import Any

from serving.v2.tensors import refusal

# A request has some twenty; packed values are one.
MAX_FIELDS = 1000
# The sizes of the wire types that have no length before them.
SIZES = {1: 8, 5: 4}


def check_fields(content: bytes, kind: Any) -> None:
    """Refuse a message of this kind, a descriptor, with too many fields; what is malformed is left to the parser."""
    if _counted(memoryview(content), kind, 0) > MAX_FIELDS:
        raise refusal("wrong_count", f"The message has over {MAX_FIELDS} fields; send values packed, or raw.")


def _counted(content: memoryview, kind: Any, fields: int) -> int:
    """Return the sum of ``fields`` and those of a message and of all messages in it, or more than the most."""
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
    """Return the number at a place, seven bits a byte, and the place after it."""
    number = 0
    for index, byte in enumerate(content[place : place + 10]):
        number |= (byte & 127) << 7 * index
        if byte < 128:
            return number, place + index + 1
    return number, len(content)
