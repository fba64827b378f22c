"""Headers as the ASGI scope holds them; to look one up in Starlette's costs several times as much."""

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of this name, None without one.

    Args:
        scope: of an HTTP request.
        name: in lower case, as servers write it into the scope.
    """
    for key, value in scope["headers"]:
        if key == name:
            found: str = value.decode("latin-1")
            return found
    return None
