"""A small HTTP service that keeps the contract of /predict and /model.json, so that tests need no serving room."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from clustnet.bundles.class_map import guesses
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
    """What the stub does: ``instead`` is answered first, one for each POST; ``change`` edits the predictions."""

    predictor: Predictor
    write_float: Callable[[np.float32], float] = float
    instead: list[Reply] = field(default_factory=list)
    change: Callable[[Document], Any] = lambda document: document
    card_changes: Document = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""

    def reply(self, body: bytes) -> Reply:
        if self.instead:
            return self.instead.pop(0)
        images = np.array(json.loads(body)["images"], np.uint8)
        self.batches.append(len(images))
        return Reply(200, json.dumps(self.change(self._document(images))))

    def card(self) -> Document:
        manifest = self.predictor.manifest
        return manifest.model_dump(mode="json", exclude={"schema_version", "files"}) | self.card_changes

    def _document(self, images: np.ndarray) -> Document:
        manifest, found = self.predictor.manifest, self.predictor.predict(images)
        best = guesses(found.coarse_probability, found.class_probability, manifest.membership())
        rows = zip(
            found.coarse_probability, found.routing, best, found.class_probability, found.confidence, strict=True
        )
        predictions = [
            {
                "coarse": self._choice(coarse, manifest.coarse_labels, int(coarse.argmax()))
                | {"probabilities": self._written(coarse)},
                "binary": self._choice(coarse, manifest.coarse_labels, int(coarse.argmax()))
                if len(coarse) == 2
                else None,
                "routing": self._written(routing),
                "expert": int(routing.argmax()),
                "guess": self._choice(classes, manifest.class_names, guess),
                "class_probabilities": self._written(classes),
                "confidence": self.write_float(confidence),
                "abstain": bool(confidence < manifest.abstention.threshold),
            }
            for coarse, routing, guess, classes, confidence in rows
        ]
        return {"model": {"name": manifest.name, "version": manifest.version}, "predictions": predictions}

    def _choice(self, probability: np.ndarray, names: Sequence[str], chosen: int) -> Document:
        return {"label": names[chosen], "probability": self.write_float(probability[chosen])}

    def _written(self, values: np.ndarray) -> list[float]:
        return [self.write_float(value) for value in values]


@contextmanager
def running(stub: Stub) -> Iterator[Stub]:
    """Serve a stub on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send(Reply(200, json.dumps(stub.card())) if self.path == "/model.json" else Reply(404, "no such page"))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send(stub.reply(body) if self.path == "/predict" else Reply(404, "no such page"))

        def send(self, reply: Reply) -> None:
            stub.keys.append(self.headers["X-API-Key"])
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
