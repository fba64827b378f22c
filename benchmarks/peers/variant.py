"""The service with one piece of its own machinery replaced: ``python -m benchmarks.peers.variant NAME PORT``."""

import os
import sys
import tempfile
from typing import Any

import uvicorn

from serving.settings import load_settings

# Options for uvicorn; BentoML sets its loop and protocol to "auto".
HTTPTOOLS, H11 = "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol", "h11"
OWN = "serving.wire.http_protocol:BoundedProtocol"
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {"http": OWN},
    "uvicorn's httptools": {"http": HTTPTOOLS},
    "uvicorn's h11": {"http": H11},
    "uvicorn's limit_concurrency": {"http": HTTPTOOLS, "limit_concurrency": 500},
    "asyncio's loop": {"http": OWN, "loop": "asyncio"},
    "metrics at once": {"http": OWN},
    "metrics in files": {"http": OWN},
    "in BentoML's application": {"http": HTTPTOOLS},
}


def main() -> None:
    """Serve until SIGTERM."""
    name, port = sys.argv[1], int(sys.argv[2])
    if name == "metrics in files":
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()
    # Imported only now, as prometheus_client looks for its folder on import.
    from serving.app import build_app
    from serving.metrics.metrics import DEFERRED

    app: Any = build_app(load_settings())
    if name == "metrics at once":
        DEFERRED.add = lambda count, note: count([note])  # type: ignore[method-assign]
    if name == "in BentoML's application":
        app = _mounted(app)
    uvicorn.run(app, port=port, log_level="warning", access_log=False, **VARIANTS[name])


def _mounted(app: Any) -> Any:
    import bentoml

    settings = {"metrics": {"enabled": False}, "logging": {"access": {"enabled": False}}}
    service = bentoml.service(name="mounting", tracing={"excluded_urls": ".*"}, **settings)(type("Empty", (), {}))
    # Wrapped in a function, because BentoML would look for the routes of a Starlette application.
    service.mount_asgi_app(lambda scope, receive, send: app(scope, receive, send))
    return service.to_asgi()


if __name__ == "__main__":
    main()
