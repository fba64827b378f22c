"""As much of S3 as reading needs, over the files of a folder."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape


@contextmanager
def serving_bucket(folder: Path) -> Iterator[str]:
    """Serve a folder's files as the objects of any bucket, on a free port of this machine; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            key = address.path.lstrip("/").partition("/")[2]
            if "list-type" in address.query:
                return self.reply(200, listing(folder, parse_qs(address.query).get("prefix", [""])[0]))
            if not (folder / key).is_file():
                return self.reply(404, b"")
            content = (folder / key).read_bytes()
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or ""):
                return self.reply(206, content[int(wanted[1]) : int(wanted[2]) + 1])
            return self.reply(200, content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def reply(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def listing(folder: Path, prefix: str) -> bytes:
    """Return the answer of ListObjectsV2."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    objects = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]
    stamp = "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    told = [
        f"<Contents><Key>{escape(key)}</Key>{stamp}<Size>{size}</Size></Contents>"
        for key, size in objects
        if key.startswith(prefix)
    ]
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(told)}</ListBucketResult>".encode()
