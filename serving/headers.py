"""The names of headers and of what the ASGI scope holds of a request, and the request's id."""

import itertools
import re
import secrets
from collections.abc import Iterable
from functools import lru_cache

ACCEPT_ENCODING = "Accept-Encoding"
ALLOW = "Allow"
API_KEY = "X-API-Key"
AUTHORIZATION = "Authorization"
CONNECTION = "Connection"
CONTENT_ENCODING = "Content-Encoding"
CONTENT_LENGTH = "Content-Length"
CONTENT_TYPE = "Content-Type"
# The bytes of the JSON in a body where binary data follow it, in the Open Inference Protocol.
HEADER_LENGTH = "Inference-Header-Content-Length"
HOST = "Host"
ORIGIN = "Origin"
RANGE = "Range"
REQUEST_ID = "X-Request-Id"
RETRY_AFTER = "Retry-After"
UPGRADE = "Upgrade"
VARY = "Vary"
WWW_AUTHENTICATE = "WWW-Authenticate"

# The ASGI scope's own keys: the name of the request's API key, and the request's id.
KEY_NAME = "clustnet.key"
ID_NAME = "clustnet.request_id"

# The ids of clients that answers repeat.
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
# Together a new id; a random one for each request would cost more.
PROCESS, NUMBERS = secrets.token_hex(8), itertools.count()

Fields = Iterable[tuple[bytes, bytes]]


@lru_cache
def field_name(name: str) -> bytes:
    """Return a header's name as the ASGI scope has it."""
    return name.lower().encode()


def header(fields: Fields, name: str) -> str | None:
    """Return the first header of this name, None without one; Starlette's look-up costs several times as much.

    Args:
        fields: names, in lower case, and values of an HTTP request's headers.
        name: one of the names above.
    """
    wanted = field_name(name)
    return next((value.decode("latin-1") for key, value in fields if key == wanted), None)


def choose_id(sent: str) -> str:
    """Return the id that a request brings, if an answer can repeat it, or a new one."""
    return sent if REQUEST_ID_PATTERN.fullmatch(sent) else f"{PROCESS}{next(NUMBERS):016x}"
