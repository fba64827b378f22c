"""Cross-origin requests: which other sites' pages may use the service, and what they may send and read."""

from typing import Any

from serving.headers import (
    API_KEY,
    AUTHORIZATION,
    CONTENT_TYPE,
    HEADER_LENGTH,
    REQUEST_ID,
    RETRY_AFTER,
    WWW_AUTHENTICATE,
)

EXPOSED_HEADERS = (REQUEST_ID, RETRY_AFTER, WWW_AUTHENTICATE, HEADER_LENGTH)


def cors_options(origins: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of Starlette's CORSMiddleware; cookies are never allowed, as the service has none."""
    return {
        "allow_origins": origins,
        "allow_methods": ("GET", "HEAD", "POST"),
        "allow_headers": (API_KEY, AUTHORIZATION, CONTENT_TYPE, REQUEST_ID, HEADER_LENGTH),
        "expose_headers": EXPOSED_HEADERS,
    }
