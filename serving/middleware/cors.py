"""Cross-origin requests: which other sites' pages may ask the service, and what they may send and read."""

from typing import Any

from serving.headers import Fields, header
from serving.keys.access import API_KEY
from serving.middleware.request_log import REQUEST_ID
from serving.v2.requests import HEADER_LENGTH

ALL = "*"
EXPOSED = (REQUEST_ID, "Retry-After", "WWW-Authenticate", HEADER_LENGTH)


def cors_options(origins: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of Starlette's CORSMiddleware; cookies are never allowed, as the service has none."""
    return {
        "allow_origins": origins,
        "allow_methods": ("GET", "HEAD", "POST"),
        "allow_headers": (API_KEY, "Authorization", "Content-Type", REQUEST_ID, HEADER_LENGTH),
        "expose_headers": EXPOSED,
    }


def cors_fields(origins: tuple[str, ...], fields: Fields) -> str:
    """Return what CORSMiddleware would add to the answer, in lines that each end with CRLF, where it is not asked.

    Args:
        origins: those whose pages may ask.
        fields: the request's headers.
    """
    origin = header(fields, b"origin")
    lines = ["vary: Origin"]
    if origin is not None:
        lines.append(f"access-control-expose-headers: {', '.join(EXPOSED)}")
        if ALL in origins or origin in origins:
            lines.append(f"access-control-allow-origin: {ALL if ALL in origins else origin}")
    return "".join(f"{line}\r\n" for line in lines)
