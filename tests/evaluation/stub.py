"""A small HTTP service that keeps the contract of POST /predict, so that these tests need no serving room."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from clustnet.bundles.predictor import Predictor

Document = dict[str, Any]


@dataclass
class Reply:
    """An answer that the stub gives instead of predictions."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Stub:
    """What the stub does: ``instead`` is given first, one a request; ``change`` edits the predictions."""

    predictor: Predictor
    write_float: Callable[[np.float32], float] = float
    instead: list[Reply] = field(default_factory=list)
    change: Callable[[Document], Any] = lambda document: document
    batches: list[int] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""

    def reply(self, body: bytes) -> Reply:
        if self.instead:
            return self.instead.pop(0)
        images = np.array(json.loads(body)["images"], np.uint8)
        self.batches.append(len(images))
        return Reply(200, json.dumps(self.change(self._document(images))))

    def _document(self, images: np.ndarray) -> Document:
        manifest, found = self.predictor.manifest, self.predictor.predict(images)
        predictions = []
        for positive, routing, classes, confidence in zip(
            found.positive_probability, found.routing, found.class_probability, found.confidence, strict=True
        ):
            label = manifest.coarse_labels[int(positive > 0.5)]
            best = int(classes.argmax())
            predictions.append(
                {
                    "binary": {"label": label, "probability": self.write_float(max(positive, 1 - positive))},
                    "routing": [self.write_float(value) for value in routing],
                    "expert": int(routing.argmax()),
                    "guess": {
                        "label": manifest.fine_classes[best],
                        "probability": self.write_float(classes[best]),
                    },
                    "class_probabilities": [self.write_float(value) for value in classes],
                    "confidence": self.write_float(confidence),
                    "abstain": bool(confidence < manifest.abstention.threshold),
                }
            )
        return {"model": {"name": manifest.name, "version": manifest.version}, "predictions": predictions}


@contextmanager
def running(stub: Stub) -> Iterator[Stub]:
    """Serve a stub on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            stub.keys.append(self.headers["X-API-Key"])
            body = self.rfile.read(int(self.headers["Content-Length"]))
            reply = stub.reply(body) if self.path == "/predict" else Reply(404, "no such page")
            content = reply.body.encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        stub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
