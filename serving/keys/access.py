"""Who may ask what, where the service has API keys."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.keys.key_file import KeyFile
from serving.keys.keys import Key
from serving.metrics.metrics import refused
from serving.refusals import Refusal

API_KEY = "X-API-Key"
HOW = f"send 'Authorization: Bearer KEY' or '{API_KEY}: KEY'"
KEY_NAME = "clustnet.key"  # where the ASGI scope holds the name of the request's key
# The page's files and what probes and newcomers ask; whatever else there is, or comes, needs a key.
OPEN = frozenset(["/", "/docs.json", "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"])
OPEN_FOLDER = "/static/"
METRICS = "/metrics"
ADMIN_FOLDER = "/v2/repository/models/"  # loads and unloads
FAULTS = {401: "There is no API key, or it is unknown.", 403: "The API key's scopes do not reach so far."}


def needed_scope(path: str, metrics_open: bool) -> str | None:
    """Return the scope that a key must have to ask for ``path``, None where it needs no key."""
    if path in OPEN or path.startswith(OPEN_FOLDER) or (metrics_open and path == METRICS):
        return None
    return "admin" if path == METRICS or path.startswith(ADMIN_FOLDER) else "predict"


class Access:
    """ASGI middleware that lets requests in by their API key, before their body is read.

    Args:
        app: the application.
        keys: the keys.
        needs: returns the scope that a path needs, None for none.
    """

    def __init__(self, app: ASGIApp, keys: KeyFile, needs: Callable[[str], str | None]) -> None:
        self.app = app
        self.keys = keys
        self.needs = needs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        needed = self.needs(scope["path"]) if scope["type"] == "http" else None
        if needed is None:
            await self.app(scope, receive, send)
            return
        try:
            key = self._key(Headers(scope=scope))
            scope[KEY_NAME] = key.name
            _check_scope(key, needed)
        except Refusal as refusal:
            await refused(refusal)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _key(self, headers: Headers) -> Key:
        secret = _secret(headers)
        if not secret:
            raise Refusal(401, "no_key", f"This needs an API key; {HOW}.", _challenge())
        key = self.keys.find(secret)
        if key is None:
            message = f"The API key is unknown; {HOW} with a key that this service has."
            raise Refusal(401, "unknown_key", message, _challenge('error="invalid_token"'))
        return key


def _secret(headers: Headers) -> str:
    """Return the key that a request shows, empty without one; a proxy before us may use Authorization for itself."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return headers.get(API_KEY, "").strip() or bearer


def _check_scope(key: Key, needed: str) -> None:
    if needed not in key.scopes:
        message = f"The API key lacks the scope '{needed}'; use a key that has it."
        challenge = _challenge(f'error="insufficient_scope", scope="{needed}"')
        raise Refusal(403, "wrong_scope", message, challenge)


def _challenge(*fault: str) -> dict[str, str]:
    """Return the header that RFC 6750 asks for."""
    return {"WWW-Authenticate": ", ".join(['Bearer realm="clustnet"', *fault])}
