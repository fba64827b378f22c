"""Who may use the page: a browser that opened the address with the token, under the name that was printed.

A page of another site can make a browser send requests here. It lacks the token, which is kept in a cookie that
browsers send from this page alone; and if a name of that site leads here (DNS rebinding), the name is refused.
"""

import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clustnet.pages.served import PAGE_HEADERS

TOKEN = "token"  # noqa: S105 - the name of a field, not a secret
JSON = "application/json"
HEADERS = PAGE_HEADERS | {"Cross-Origin-Resource-Policy": "same-origin"}
NO_TOKEN = "Open the address that 'clustnet review' printed; its token lets you in.\n"  # noqa: S105
OTHER_NAME = "This page is not served under that name; open the address that 'clustnet review' printed.\n"
OTHER_SITE = "This request comes from another site.\n"
NOT_JSON = "Send JSON.\n"


class Guard:
    """ASGI middleware that refuses strangers, and adds ``HEADERS`` to every answer.

    Args:
        app: what is guarded.
        token: what lets a browser in.
        hosts: the names under which the page is served, besides numeric addresses.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str]) -> None:
        self.app, self.token, self.hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._refusal(Request(scope)) or self.app
        await answer(scope, receive, adding)

    def _refusal(self, request: Request) -> Response | None:
        """Return the refusal of a request, or the redirect of a browser that brings the token; None if it may pass."""
        if not self._is_known(request.headers.get("host", "")):
            return PlainTextResponse(OTHER_NAME, 421)
        # Cookies are shared by all ports of a machine.
        cookie = f"clustnet-review-{(request.scope.get('server') or ('', 0))[1]}"
        given = request.query_params.get(TOKEN)
        if given is not None and request.method == "GET" and self._fits(given):
            answer = RedirectResponse(request.url.path, 303)
            answer.set_cookie(cookie, self.token, httponly=True, samesite="strict")
            return answer
        if not self._fits(request.cookies.get(cookie, "")):
            return PlainTextResponse(NO_TOKEN, 403)
        if request.method == "GET":
            return None
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers["host"]:
            return PlainTextResponse(OTHER_SITE, 403)
        return None if request.headers.get("content-type") == JSON else PlainTextResponse(NOT_JSON, 415)

    def _fits(self, token: str) -> bool:
        """Return whether a token is the right one, in a time that does not depend on the token."""
        return secrets.compare_digest(token.encode(), self.token.encode())

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.hosts:
            return True
        try:
            # A numeric address needs no DNS, so it cannot have been rebound.
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
