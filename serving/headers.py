"""The names of headers and of entries in a request's ASGI scope, and the request's id."""

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from functools import lru_cache

from starlette.types import Scope

ACCEPT_ENCODING = "Accept-Encoding"
ALLOW = "Allow"
API_KEY = "X-API-Key"
AUTHORIZATION = "Authorization"
CONNECTION = "Connection"
CONTENT_ENCODING = "Content-Encoding"
CONTENT_LENGTH = "Content-Length"
CONTENT_TYPE = "Content-Type"
# In the Open Inference Protocol, the length in bytes of the JSON in a body in which binary data follow it.
HEADER_LENGTH = "Inference-Header-Content-Length"
HOST = "Host"
ORIGIN = "Origin"
RANGE = "Range"
REQUEST_ID = "X-Request-Id"
RETRY_AFTER = "Retry-After"
UPGRADE = "Upgrade"
VARY = "Vary"
WWW_AUTHENTICATE = "WWW-Authenticate"

# What the service adds to the ASGI scope: the name of the request's API key, and the request's id.
KEY_NAME = "clustnet.key"
ID_NAME = "clustnet.request_id"

# The ids from clients that answers can repeat.
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
# A new id is the worker's own prefix and random bytes, so that no id can be guessed from another.
WORKER = secrets.token_hex(8)
RANDOM_BYTES = 8
# Drawn together, because drawing one at a time costs three times as much.
IDS_PER_BLOCK = 256

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
    """Return the id that a request brings, or a new one if an answer cannot repeat it."""
    return sent if REQUEST_ID_PATTERN.fullmatch(sent) else next(NEW_IDS)


def kept_id(scope: Scope, request_id: str) -> str:
    """Return the name under which an answer is kept: the request id, prefixed with the name of its API key, if any.

    With the prefix, feedback sent with another key does not find the answer.
    """
    return f"{scope[KEY_NAME]}/{request_id}" if KEY_NAME in scope else request_id


def _random_ids() -> Iterator[str]:
    while True:
        block = os.urandom(RANDOM_BYTES * IDS_PER_BLOCK)
        for start in range(0, len(block), RANDOM_BYTES):
            yield WORKER + block[start : start + RANDOM_BYTES].hex()


NEW_IDS = _random_ids()
