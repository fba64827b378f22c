"""Cross-origin requests: which other sites' pages may use the service, and what they may send and read."""

from typing import Any

from serving.headers import (
    API_KEY,
    AUTHORIZATION,
    CONTENT_TYPE,
    HEADER_LENGTH,
    ORIGIN,
    REQUEST_ID,
    RETRY_AFTER,
    VARY,
    WWW_AUTHENTICATE,
    Fields,
    header,
)

ANY_ORIGIN = "*"
EXPOSED_HEADERS = (REQUEST_ID, RETRY_AFTER, WWW_AUTHENTICATE, HEADER_LENGTH)


def cors_options(origins: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of Starlette's CORSMiddleware; cookies are never allowed, as the service has none."""
    return {
        "allow_origins": origins,
        "allow_methods": ("GET", "HEAD", "POST"),
        "allow_headers": (API_KEY, AUTHORIZATION, CONTENT_TYPE, REQUEST_ID, HEADER_LENGTH),
        "expose_headers": EXPOSED_HEADERS,
    }


def cors_fields(origins: tuple[str, ...], fields: Fields) -> str:
    """Return the header lines, each ending in CRLF, that CORSMiddleware would add to an answer that bypasses it.

    Args:
        origins: the origins whose pages may use the service; without any, nothing is added.
        fields: the request's headers.
    """
    if not origins:
        return ""
    origin = header(fields, ORIGIN)
    lines = [f"{VARY.lower()}: {ORIGIN}"]
    if origin is not None:
        lines.append(f"access-control-expose-headers: {', '.join(EXPOSED_HEADERS)}")
        if ANY_ORIGIN in origins or origin in origins:
            lines.append(f"access-control-allow-origin: {ANY_ORIGIN if ANY_ORIGIN in origins else origin}")
    return "".join(f"{line}\r\n" for line in lines)
