"""The files and HTTP headers that all served pages share."""

# One of the ``packages`` of Starlette's StaticFiles.
SHARED_FILES = ("clustnet.pages", "static")

# A page loads nothing from elsewhere and runs no inline scripts.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
