"""Headers as servers and the ASGI scope hold them; to look one up in Starlette's costs several times as much."""

from collections.abc import Iterable

Fields = Iterable[tuple[bytes, bytes]]


def header(fields: Fields, name: bytes) -> str | None:
    """Return the first header of this name, None without one.

    Args:
        fields: names, in lower case, and values of an HTTP request's headers.
        name: in lower case.
    """
    return next((value.decode("latin-1") for key, value in fields if key == name), None)
