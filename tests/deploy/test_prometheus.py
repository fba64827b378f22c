"""Debian's Prometheus and Alertmanager, with the files of ``deploy/``, watch a real ``bentoml serve``."""

import itertools
import math
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from clustnet.datasets import load
from tests.deploy.monitoring import (
    ALERTMANAGER,
    DASHBOARDS,
    PROMETHEUS,
    RULES,
    queries,
    read,
    rules,
    selectors,
)
from tests.serving.server import REPOSITORY, Server, free_port, running_server

PROGRAMS = ("prometheus", "prometheus-alertmanager", "promtool")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)),
    reason="Prometheus is not here (Debian: prometheus, prometheus-alertmanager)",
)
# In seconds; on an idle machine all is there after five.
PATIENCE = 60
# Seconds between two looks, and between two requests.
PAUSE = 0.2
DIGITS = load("mnist:test").images[:40]
T = TypeVar("T")


class Watch:
    """Prometheus and Alertmanager, and what they watch."""

    def __init__(self, service: Server, rest: Callable[[], None], prometheus: str, alertmanager: str) -> None:
        self.service = service
        # It ends the traffic.
        self.rest = rest
        self.prometheus = prometheus
        self.alertmanager = alertmanager

    def request(self, path: str, **parameters: str) -> Any:
        """Return the data that Prometheus' API answers."""
        answer = httpx.get(f"{self.prometheus}/api/v1/{path}", params=parameters, timeout=30).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, query: str) -> list[float]:
        """Return the finite values of an instant query."""
        samples = self.request("query", query=query)["result"]
        return [value for value in (float(sample["value"][1]) for sample in samples) if math.isfinite(value)]


def until(look: Callable[[], T]) -> T:
    """Look until there is something, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    return found


@contextmanager
def program(log: Path, port: int, *command: str) -> Iterator[str]:
    """Run a program that answers on ``port`` with ``/-/ready``, and yield its URL."""
    with log.open("wb") as output:
        listen = f"--web.listen-address=127.0.0.1:{port}"
        process = subprocess.Popen([*command, listen], stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or _is_ready(url))
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def quick_copies(folder: Path, addresses: dict[str, str]) -> Path:
    """Write the configuration and the rules as they are, but quicker and with other addresses, and return the first."""
    config = read(PROMETHEUS)
    config["global"] = dict.fromkeys(config["global"], "1s")
    for part in (*config["scrape_configs"], *config["alerting"]["alertmanagers"]):
        for static in part["static_configs"]:
            static["targets"] = [addresses[target] for target in static["targets"]]
    (folder / "rules").mkdir()
    for path in RULES:
        groups = read(path)["groups"]
        for group in groups:
            group["interval"] = "1s"
            for rule in group["rules"]:
                rule |= {"for": "1s"} if "for" in rule else {}
        (folder / "rules" / path.name).write_text(yaml.safe_dump({"groups": groups}))
    path = folder / PROMETHEUS.name
    path.write_text(yaml.safe_dump(config))
    return path


def ask_for_predictions(url: str, images: NDArray[np.uint8]) -> None:
    """Ask each endpoint once, and once with each of three faults; ``images`` is [N, 28, 28]."""
    with httpx.Client(base_url=url, timeout=30) as client:
        assert client.post("/predict", json={"images": images.tolist()}).status_code == 200
        file = (REPOSITORY / "docs" / "digits" / "4.png").read_bytes()
        assert client.post("/predict_image", files={"image": file}).status_code == 200
        tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28], "data": images[0].ravel().tolist()}
        assert client.post("/v2/models/mnist/infer", json={"inputs": [tensor]}).status_code == 200
        assert client.post("/predict", json={"images": [[1, 2, 3]]}).status_code == 422
        assert client.post("/predict_image", files={"image": b"no image"}).status_code == 422
        assert client.get("/nowhere").status_code == 404


@contextmanager
def traffic(url: str) -> Iterator[Callable[[], None]]:
    """Ask for predictions again and again until the block ends, or the function is called that it gives."""
    enough = threading.Event()

    def request() -> None:
        starts = itertools.cycle(range(0, len(DIGITS), 5))
        while not enough.wait(PAUSE):
            ask_for_predictions(url, DIGITS[(start := next(starts)) : start + 5])

    def rest() -> None:
        enough.set()
        asking.join()

    asking = threading.Thread(target=request)
    asking.start()
    try:
        yield rest
    finally:
        rest()


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    folder = tmp_path_factory.mktemp("watch")
    with ExitStack() as stack:
        service = stack.enter_context(running_server(REPOSITORY / "models" / "mnist"))
        port, other = (stack.enter_context(free_port()) for _ in range(2))
        addresses = {
            "clustnet:3000": service.url.removeprefix("http://"),
            "127.0.0.1:9090": f"127.0.0.1:{port}",
            "alertmanager:9093": f"127.0.0.1:{other}",
        }
        config = [f"--config.file={quick_copies(folder, addresses)}", f"--storage.tsdb.path={folder / 'samples'}"]
        prometheus = stack.enter_context(program(folder / "log", port, "prometheus", *config))
        config = [f"--config.file={ALERTMANAGER}", f"--storage.path={folder / 'alerts'}", "--cluster.listen-address="]
        alertmanager = stack.enter_context(program(folder / "other-log", other, "prometheus-alertmanager", *config))
        rest = stack.enter_context(traffic(service.url))
        yield Watch(service, rest, prometheus, alertmanager)


def as_grafana_sends(query: str) -> str:
    return query.replace("$__rate_interval", "10s").replace("$model", ".+")


def cases(every: dict[str, str]) -> list[Any]:
    return [pytest.param(query, id=name) for name, query in every.items()]


def test_the_metrics_are_as_prometheus_wants_them(watch: Watch) -> None:
    shown = httpx.get(f"{watch.service.url}/metrics").content
    done = subprocess.run(["promtool", "check", "metrics"], input=shown, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("query", cases(queries()))
def test_every_query_of_every_panel_returns_data(query: str, watch: Watch) -> None:
    assert until(lambda: watch.values(as_grafana_sends(query)))


@pytest.mark.parametrize("query", cases({rule["record"]: rule["record"] for rule in rules("record")}))
def test_every_recording_rule_returns_data(query: str, watch: Watch) -> None:
    assert until(lambda: watch.values(query))


@pytest.mark.parametrize("query", cases({rule["alert"]: rule["expr"] for rule in rules("alert")}))
def test_every_series_of_every_alert_is_there(query: str, watch: Watch) -> None:
    """An alert itself returns data only where something is wrong."""
    for selector in selectors(query):
        assert until(lambda selector=selector: watch.values(selector)), selector


def test_every_variable_has_values(watch: Watch) -> None:
    variables = itertools.chain.from_iterable(read(path)["templating"]["list"] for path in DASHBOARDS)
    for variable in variables:
        series, _, label = variable["definition"].removeprefix("label_values(").removesuffix(")").partition(", ")
        assert watch.request(f"label/{label}/values", **{"match[]": series}) == ["mnist"]


def test_every_rule_can_be_evaluated(watch: Watch) -> None:
    found = [rule for group in watch.request("rules")["groups"] for rule in group["rules"]]
    assert len(found) == len([*rules("alert"), *rules("record")])
    assert {(rule["name"], rule["health"]) for rule in found} == {(rule["name"], "ok") for rule in found}


def test_the_down_alert_reaches_alertmanager(watch: Watch) -> None:
    """The last test here: there is no service after it."""

    def firing() -> list[dict[str, Any]]:
        alerts = watch.request("alerts")["alerts"]
        return [
            alert for alert in alerts if alert["labels"]["alertname"] == "ClustnetDown" and alert["state"] == "firing"
        ]

    def received() -> list[dict[str, Any]]:
        matching = {"filter": 'alertname="ClustnetDown"'}
        alerts: list[dict[str, Any]] = httpx.get(f"{watch.alertmanager}/api/v2/alerts", params=matching).json()
        return alerts

    assert until(lambda: watch.values('up{job="clustnet"}')) == [1]
    assert until(lambda: not firing() and not received())
    watch.rest()
    assert watch.service.stop() == 0
    (alert,) = until(firing)
    instance = watch.service.url.removeprefix("http://")
    assert alert["annotations"]["summary"] == f"Nothing answers at {instance}."
    (known,) = until(received)
    assert [receiver["name"] for receiver in known["receivers"]] == ["page"]
