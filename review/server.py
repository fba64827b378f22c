"""The server of the page: it listens on this machine alone unless told otherwise."""

import secrets
import socket

import uvicorn

from clustnet.corrections.session import Session
from clustnet.errors import UserError
from review.app import make_app
from review.guard import TOKEN
from review.run import Run
from review.worker import Worker

GRACE_SECONDS = 5
LOCAL = frozenset({"localhost"})


def serve(run: Run, session: Session, host: str, port: int) -> None:
    """Serve the page until it is stopped.

    Args:
        run: what is reviewed.
        session: its review.
        host: the address to listen on.
        port: the port to listen on, 0 for any that is free.

    Raises:
        UserError: nothing can listen there.
    """
    token, worker = secrets.token_urlsafe(24), Worker()
    listener = _listen(host, port)
    name = f"[{host}]" if ":" in host else host
    app = make_app(run, session, worker, token, LOCAL | {host, socket.gethostname()})
    print(f"{run.title}: {len(run.rows):,} images of {len(session.review.subtypes)} subtypes")
    print(f"open:  http://{name}:{listener.getsockname()[1]}/?{TOKEN}={token}")
    print("Every action is kept at once; stop with Ctrl-C.", flush=True)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        print("Stopped.")
    finally:
        worker.stop()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"Nothing can listen on {host}, port {port} ({why}); choose another --host or --port."
        ) from None
