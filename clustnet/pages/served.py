"""What the pages that a server shows have in common: some files, and the headers with which they reach a browser."""

# Starlette's StaticFiles takes it as one of its packages.
SHARED_FILES = ("clustnet.pages", "static")

# A page loads nothing from elsewhere and runs nothing written into it.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
