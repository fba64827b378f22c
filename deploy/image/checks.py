"""What a built image must be and do; each check says what it saw or raises AssertionError."""

import http.client
import io
import json
import re
import shutil
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploy.image.build import REPOSITORY
from deploy.image.container import Container, running
from deploy.image.engine import Docker
from deploy.image.lock import versions

MOST_MEGABYTES = {"cpu": 500, "gpu": 3000}
USER = "10001"
DIGIT = REPOSITORY / "docs" / "digits" / "4.png"
MOST_BYTES = 100_000
COMPILERS = ("gcc", "g++", "cc", "c++", "clang", "rustc", "make")
PATIENCE_SECONDS = 60
MARKERS = "import json, packaging.markers; print(json.dumps(packaging.markers.default_environment()))"
PACKAGES = """
import importlib.metadata, json, re
names = {re.sub("[-_.]+", "-", found.name).lower(): found.version for found in importlib.metadata.distributions()}
print(json.dumps(names))
"""


def expect(found: object, wanted: object, what: str) -> None:
    """Raise AssertionError where ``found`` is not what is ``wanted``."""
    if found != wanted:
        raise AssertionError(f"{what} is {found!r}, not {wanted!r}")


def until(met: Callable[[], bool], what: str) -> float:
    """Wait till ``met`` and return the seconds; AssertionError says ``what`` did not come."""
    start = time.monotonic()
    while not met():
        if time.monotonic() - start > PATIENCE_SECONDS:
            raise AssertionError(f"{what} within {PATIENCE_SECONDS} s: no")
        time.sleep(0.2)
    return time.monotonic() - start


def check_size(megabytes: int, runtime: str) -> str:
    """The image is no larger than it may be."""
    if megabytes > MOST_MEGABYTES[runtime]:
        raise AssertionError(f"the image has {megabytes} MB, over {MOST_MEGABYTES[runtime]}")
    return f"{megabytes} MB, of at most {MOST_MEGABYTES[runtime]}"


def check_labels(docker: Docker, tag: str, labels: dict[str, str]) -> str:
    """The image says what it was made of."""
    found = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", tag))
    for argument, value in labels.items():
        expect(found.get(f"org.opencontainers.image.{argument.lower()}"), value, f"label {argument.lower()}")
    return ", ".join(f"{argument.lower()} {value}" for argument, value in labels.items())


def check_secrets(docker: Docker, tag: str, canary: str) -> str:
    """No layer and no line of the history holds ``canary``, which every secret held."""
    history = docker("history", "--no-trunc", tag)
    described = docker("image", "inspect", tag)
    expect(canary in history + described, False, "a secret in the history")
    with tempfile.TemporaryFile() as whole:
        with docker.pipe("save", tag) as saving:
            assert saving.stdout is not None  # noqa: S101 - pipe() has one
            shutil.copyfileobj(saving.stdout, whole)
        expect(saving.returncode, 0, "the exit code of docker save")
        whole.seek(0)
        searched = 0
        for name, content in _files(whole):
            expect(canary.encode() in content, False, f"a secret in {name}")
            searched += 1
    return f"none in the history and in {searched:,} files of all layers"


def _files(whole: Any) -> Iterator[tuple[str, bytes]]:
    """Yield each file of each layer of a saved image; layers are tar files in it."""
    with tarfile.open(fileobj=whole) as image:
        for member in image:
            content = image.extractfile(member)
            if content is None:
                continue
            try:
                with tarfile.open(fileobj=content) as layer:
                    for file in layer:
                        data = layer.extractfile(file) if file.isfile() else None
                        if data:
                            yield file.name, data.read()
            except tarfile.ReadError:
                content.seek(0)
                yield member.name, content.read()


def check_contents(container: Container, runtime: str) -> str:
    """The environment holds the packages of the lock file and nothing else: no torch, no pip; and no compiler."""
    markers = json.loads(container.inside("python", "-c", MARKERS))
    lock = REPOSITORY / "requirements" / f"serving-{runtime}.txt"
    packages = json.loads(container.inside("python", "-c", PACKAGES))
    expect(packages, versions(lock.read_text(encoding="utf-8"), markers), "the installed packages")
    expect({"torch", "pip"} & packages.keys(), set(), "torch and pip")
    found = container.inside("sh", "-c", f"command -v {' '.join(COMPILERS)} || true")
    expect(found, "", "compilers")
    return f"{len(packages)} packages, those of {lock.name}; no torch, no pip, no compiler"


def check_hardened(container: Container) -> str:
    """The process is not root, has no capabilities and gets none, and cannot write."""
    expect(container.inside("id", "-u"), USER, "the user")
    status = container.inside("cat", "/proc/1/status")
    expect(re.findall(r"CapEff:\s*(\w+)", status), ["0" * 16], "capabilities")
    expect(re.findall(r"NoNewPrivs:\s*(\d)", status), ["1"], "no-new-privileges")
    refused = container.docker.try_("exec", container.name, "touch", "/srv/clustnet/file")
    expect("Read-only file system" in refused.stderr, True, "the root's being read-only")
    return f"user {USER}, no capabilities, no new privileges, read-only but for /tmp"


def check_predictions(container: Container) -> str:
    """All three endpoints find that the picture of a 4 is one."""
    boundary = uuid.uuid4().hex
    answer: Any = container.json("/predict_image", _form(boundary), f"multipart/form-data; boundary={boundary}")
    expect(answer["prediction"]["guess"]["label"], "4", "/predict_image")
    image = answer["prepared"]
    answer = container.json("/predict", json.dumps({"images": [image]}).encode())
    expect(answer["predictions"][0]["guess"]["label"], "4", "/predict")
    tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": [image]}
    answer = container.json("/v2/models/mnist/infer", json.dumps({"inputs": [tensor]}).encode())
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    classes = outputs["class_probability"]
    expect(classes.index(max(classes)), 4, "/v2/models/mnist/infer")
    return f"{DIGIT.name} is a 4 at /predict_image, /predict and /v2/models/mnist/infer"


def _form(boundary: str) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{DIGIT.name}"\r\n\r\n'
    return head.encode() + DIGIT.read_bytes() + f"\r\n--{boundary}--\r\n".encode()


def check_metrics(container: Container) -> str:
    """Each endpoint's one request is counted, and the three predictions."""
    wanted = [
        'clustnet_requests_total{path="/predict",status="200"} 1.0',
        'clustnet_requests_total{path="/predict_image",status="200"} 1.0',
        'clustnet_predictions_by_class_total{label="4",model="mnist"} 3.0',
    ]

    def counted() -> bool:
        lines = container.request("/metrics")[1].decode().splitlines()
        return all(line in lines for line in wanted)

    until(counted, "counts in /metrics")
    return "3 predictions of the class 4 counted, at /metrics"


def check_size_limit(container: Container) -> str:
    """A body over the limit is refused."""
    status, content = container.request("/predict", b"[" * (2 * MOST_BYTES))
    expect((status, f"over {MOST_BYTES} bytes" in content.decode()), (413, True), "the answer to a large body")
    return f"{2 * MOST_BYTES:,} bytes are refused with 413 where CLUSTNET_MAX_BODY_BYTES is {MOST_BYTES:,}"


def check_killed_worker(container: Container) -> str:
    """A worker that is killed is replaced, and the service answers."""
    before = container.workers()
    expect(len(before), 2, "the number of workers")
    container.inside("python", "-c", f"import os; os.kill({min(before)}, 9)")

    def replaced() -> bool:
        now = container.workers()
        return len(now) == 2 and now != before

    seconds = until(replaced, "a new worker")
    until(lambda: container.request("/readyz")[0] == 200, "readiness")
    check_predictions(container)
    return f"one of 2 was killed, and another in its place after {seconds:.1f} s"


def check_sigterm(container: Container) -> str:
    """A request that had begun when SIGTERM came is answered, and the exit code is 0."""
    body = json.dumps({"images": [[[0] * 28] * 28]}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", container.port, timeout=30)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:100])
    time.sleep(1)  # till the service has read it
    container.docker("kill", "--signal", "TERM", container.name)
    time.sleep(1)  # till it has begun to stop
    connection.send(body[100:])
    answer = connection.getresponse()
    expect((answer.status, len(json.load(io.BytesIO(answer.read()))["predictions"])), (200, 1), "the answer")
    connection.close()
    expect(container.exit_code(), 0, "the exit code")
    return "sent during a request: it was answered with 200, and the exit code is 0"


def check_cuda(docker: Docker, tag: str) -> str:
    """Where CUDA is demanded and there is no GPU, the container stops and says so."""
    with running(docker, tag, CLUSTNET_DEVICE="cuda") as container:
        expect(container.exit_code(), 2, "the exit code without a GPU")
        said = docker.try_("logs", container.name).stderr.splitlines()
    expect(len(said), 1, "the number of lines it says")
    expect(said[0].startswith("clustnet: CLUSTNET_DEVICE is cuda, but"), True, f"{said[0]!r} as a sentence about CUDA")
    return f"exit code 2, {said[0]!r}"


def check_rebuild(docker: Docker, tag: str, changed: str, seconds: float) -> str:
    """A change of the code gave an image that shares all layers but the code's with the one before."""
    before, after = (
        json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", name)) for name in (tag, changed)
    )
    expect([old == new for old, new in zip(before, after, strict=True)], [True] * (len(before) - 1) + [False], "layers")
    return f"{seconds:.1f} s, {len(before) - 1} of {len(before)} layers as before"


def change(folder: Path) -> None:
    """Change the code in a folder that an image was built of."""
    with (folder / "serving" / "bento.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
