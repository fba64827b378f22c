"""Cross-origin requests: which other sites' pages may ask the service, and what they may send and read."""

from typing import Any

from serving.access import API_KEY
from serving.request_log import REQUEST_ID
from serving.v2.requests import HEADER_LENGTH


def cors_options(origins: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of Starlette's CORSMiddleware; cookies are never allowed, as the service has none."""
    return {
        "allow_origins": origins,
        "allow_methods": ("GET", "HEAD", "POST"),
        "allow_headers": (API_KEY, "Authorization", "Content-Type", REQUEST_ID, HEADER_LENGTH),
        "expose_headers": (REQUEST_ID, "Retry-After", "WWW-Authenticate", HEADER_LENGTH),
    }
