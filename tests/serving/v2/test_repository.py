"""Loading and unloading by the protocol: over ASGI, and with the real ``tritonclient`` on a real ``bentoml serve``."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from starlette.testclient import TestClient
from tritonclient.utils import InferenceServerException

from clustnet.bundles.bundle import MIXTURE, Bundle
from clustnet.bundles.predictor import Predictor
from clustnet.packing.signature import SIGNATURE, sign
from serving.keys.keys import make_key
from serving.models.shared import FOLDER
from serving.settings import Settings
from tests.clustnet.packing.test_signature import write_keys
from tests.serving.conftest import client_of
from tests.serving.images import drawing
from tests.serving.server import running_server
from tests.serving.v2.bodies import json_body
from tests.synthetic import write_bundle

IMAGES = np.random.default_rng(4).integers(0, 256, (2, 28, 28)).astype(np.uint8)
ONE = "/v2/models/one"
WORKERS = 2
# In seconds; the other workers look each second, but a busy machine is no fault.
FOLLOWED = 30.0


def add(repository: Path, name: str, version: str, seed: int = 0) -> Path:
    """Put a bundle into a repository, in place of what is there."""
    folder = repository / name / version
    new = write_bundle(repository / ".new", seed, name=name, version=version)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return new.rename(folder)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ``one/1`` and ``two/1``."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("one", "two"):
        add(folder, name, "1")
    return folder


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The API keys of an operator and of a user, and ``file``, which has them."""
    made = {"operator": make_key("operator", ["predict", "admin"]), "user": make_key("user", ["predict"])}
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("".join(f"{key.line()}\n" for _, key in made.values()))
    return {"file": str(file)} | {name: secret for name, (secret, _) in made.items()}


@dataclass(frozen=True)
class Service:
    """A service of two workers, and the folder of its models."""

    url: str
    repository: Path
    key: str
    pid: int

    @property
    def headers(self) -> dict[str, str]:
        """Return the operator's key as a header, in a new dict, as tritonclient adds to it."""
        return {"X-API-Key": self.key}

    def change(self, what: str, name: str, **options: Any) -> httpx.Response:
        """Load or unload a model."""
        address = f"{self.url}/v2/repository/models/{name}/{what}"
        return httpx.post(address, **{"headers": self.headers, "timeout": 60} | options)

    def everywhere(self) -> dict[str, set[str]]:
        """Return the models and versions that each worker serves; it tells them apart by the ids of its answers."""
        found: dict[str, set[str]] = {}
        with ThreadPoolExecutor(8) as pool:
            while len(found) < WORKERS:
                for answer in pool.map(lambda _: self.index(), range(16)):
                    rows = {f"{row['name']}/{row['version']}" for row in answer.json()}
                    found[answer.headers["x-request-id"][:16]] = rows
        return found

    def index(self) -> httpx.Response:
        """Ask for the models that are ready, in a connection of its own."""
        address = f"{self.url}/v2/repository/index"
        return httpx.post(address, json={"ready": True}, headers=self.headers, timeout=60).raise_for_status()

    def is_up(self) -> bool:
        """Tell whether workers answer."""
        try:
            self.everywhere()
        except httpx.TransportError:
            return False
        return True

    def until(self, *served: str) -> None:
        """Wait until all workers serve these models."""
        deadline = time.monotonic() + FOLLOWED
        while set(map(frozenset, self.everywhere().values())) != {frozenset(served)}:
            assert time.monotonic() < deadline, f"the workers serve {self.everywhere()}, not {served}"


@pytest.fixture(scope="module")
def running(repository: Path, keys: dict[str, str]) -> Iterator[Service]:
    with running_server(repository, CLUSTNET_WORKERS=str(WORKERS), CLUSTNET_API_KEYS_FILE=keys["file"]) as server:
        yield Service(server.url, repository, keys["operator"], server.process.pid)
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    """The service, whose models are ``one/1`` and ``two/1`` before each test."""
    yield running
    shutil.rmtree(running.repository / "one")
    add(running.repository, "one", "1")
    for name in ("one", "two"):
        running.change("load", name).raise_for_status()
    running.until("one/1", "two/1")


@pytest.fixture
def client(service: Service) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(service.url.removeprefix("http://"), network_timeout=60) as client:
        yield client


def test_tritons_client_loads_and_unloads(service: Service, client: triton.InferenceServerClient) -> None:
    add(service.repository, "one", "2")
    client.load_model("one", headers=service.headers)
    service.until("one/1", "one/2", "two/1")
    assert client.get_model_metadata("one", headers=service.headers)["versions"] == ["1", "2"]
    assert client.is_model_ready("one", "2", headers=service.headers)
    client.unload_model("one", headers=service.headers)
    service.until("two/1")
    assert not client.is_model_ready("one", headers=service.headers)
    index = client.get_model_repository_index(headers=service.headers)
    gone = {row["version"]: (row["state"], row["reason"]) for row in index if row["name"] == "one"}
    assert gone == dict.fromkeys(("1", "2"), ("UNAVAILABLE", "unloaded"))
    with pytest.raises(InferenceServerException, match="The model 'one' is unloaded; load it with") as error:
        client.infer("one", tensor(), headers=service.headers)
    assert error.value.status() == "404"
    with pytest.raises(InferenceServerException, match="There is no model 'three'"):
        client.load_model("three", headers=service.headers)
    client.load_model("one", headers=service.headers)
    service.until("one/1", "one/2", "two/1")
    assert client.infer("one", tensor(), headers=service.headers).get_response()["model_version"] == "2"


def test_tritons_client_sees_why_bundles_are_refused(service: Service, client: triton.InferenceServerClient) -> None:
    (add(service.repository, "one", "2") / MIXTURE).write_bytes(b"no graph")
    with pytest.raises(InferenceServerException, match=r"2 is damaged: mixture\.onnx does not match") as error:
        client.load_model("one", headers=service.headers)
    assert error.value.status() == "400"
    with pytest.raises(InferenceServerException, match="The parameter 'config' is not supported"):
        client.load_model("two", headers=service.headers, config="{}")
    service.until("one/1", "two/1")


def test_predictions_of_each_model_and_version(service: Service) -> None:
    add(service.repository, "one", "2", seed=8)
    service.change("load", "one").raise_for_status()
    service.until("one/1", "one/2", "two/1")
    body = {"images": IMAGES.tolist()}
    for query, name, version in (
        ("", "one", "2"),
        ("?version=1", "one", "1"),
        ("?model=two", "two", "1"),
        ("?model=one&version=2", "one", "2"),
    ):
        answer = httpx.post(f"{service.url}/predict{query}", json=body, headers=service.headers).json()
        assert answer["model"] == {"name": name, "version": version}
        bundle = Bundle(service.repository / name / version)
        said = Predictor(bundle, "cpu").predict(IMAGES).class_probability
        np.testing.assert_allclose(probabilities(answer), said, rtol=1e-4)
        card = httpx.get(f"{service.url}/model.json{query}", headers=service.headers).json()
        assert (card["name"], card["version"]) == (name, version)
        upload = httpx.post(f"{service.url}/predict_image{query}", files={"image": drawing()}, headers=service.headers)
        assert upload.json()["model"] == {"name": name, "version": version}


def test_without_its_default_model_the_service_says_so(service: Service) -> None:
    service.change("unload", "one").raise_for_status()
    service.until("two/1")
    body = {"images": IMAGES.tolist()}
    answer = httpx.post(f"{service.url}/predict", json=body, headers=service.headers)
    assert (answer.status_code, "The model 'one' is unloaded; load it with" in answer.json()["error"]) == (404, True)
    assert httpx.post(f"{service.url}/predict?model=two", json=body, headers=service.headers).status_code == 200
    # It can be requested to load a model.
    assert httpx.get(f"{service.url}/readyz").status_code == 200
    told = re.findall(r'^clustnet_model_info{name="(.*?)"', httpx.get(f"{service.url}/metrics").text, re.MULTILINE)
    assert told == ["two"]


def test_a_replacing_worker_serves_the_same(service: Service) -> None:
    service.change("unload", "two").raise_for_status()
    service.until("one/1")
    before = service.everywhere()
    for process in psutil.Process(service.pid).children():
        if "_bentoml_impl.worker.service" in process.cmdline():
            process.kill()
    wait_for(lambda: service.is_up() and not service.everywhere().keys() & before.keys())
    assert list(service.everywhere().values()) == [{"one/1"}] * WORKERS


def tensor() -> list[triton.InferInput]:
    images = triton.InferInput("image", list(IMAGES.shape), "UINT8")
    images.set_data_from_numpy(IMAGES)
    return [images]


def test_only_a_key_of_an_admin_may(service: Service, keys: dict[str, str]) -> None:
    for what in ("load", "unload"):
        assert service.change(what, "one", headers={}).status_code == 401
        answer = service.change(what, "one", headers={"X-API-Key": keys["user"]})
        assert (answer.status_code, "lacks the scope 'admin'" in answer.text) == (403, True)
    service.until("one/1", "two/1")


def test_no_request_fails_while_models_are_loaded(service: Service) -> None:
    """Four clients send requests without pause through six reloads and three that are refused."""
    expected = {seed: answers(service.repository, seed) for seed in range(7)}
    folder, done = service.repository / "one" / "1", Event()
    heard: list[list[NDArray[np.float64]]] = [[], [], [], []]
    with ThreadPoolExecutor(len(heard)) as pool:
        paths = ["/predict", "/predict?model=one&version=1", f"{ONE}/infer", f"{ONE}/versions/1/infer"]
        asking = [pool.submit(ask_until, service, done, path, said) for path, said in zip(paths, heard, strict=True)]
        try:
            wait_for(lambda: all(heard))
            for seed in range(1, 7):
                add(service.repository, "one", "1", seed)
                if seed % 2:
                    (folder / MIXTURE).rename(folder / "away")
                    refused = service.change("load", "one")
                    assert (refused.status_code, "lacks mixture.onnx" in refused.json()["error"]) == (400, True)
                    (folder / "away").rename(folder / MIXTURE)
                assert service.change("load", "one").json() == {"name": "one", "versions": ["1"]}
            wait_for(lambda: all(model_that_said(expected, said[-1]) == 6 for said in heard))
        finally:
            done.set()
        for future in asking:
            # This raises what a client met.
            future.result()
    for said in heard:
        models = [model_that_said(expected, answer) for answer in said]
        assert models[0] == 0
        # Each connection stays with one worker, which never goes back.
        assert models == sorted(models)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + FOLLOWED
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ask_until(service: Service, done: Event, path: str, heard: list[NDArray[np.float64]]) -> None:
    """Ask without pause and keep the class probabilities of all answers, of which none may be a fault."""
    body = {"images": IMAGES.tolist()} if path.startswith("/predict") else json_body(IMAGES)
    with httpx.Client(base_url=service.url, headers=service.headers, timeout=60) as client:
        while not done.is_set():
            answer = client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            heard.append(probabilities(answer.json()))


def probabilities(document: Any) -> NDArray[np.float64]:
    if "predictions" in document:
        return np.array([prediction["class_probabilities"] for prediction in document["predictions"]])
    (output,) = (output for output in document["outputs"] if output["name"] == "class_probability")
    return np.array(output["data"]).reshape(output["shape"])


def answers(folder: Path, seed: int) -> NDArray[np.float32]:
    """Return what the model of a seed says."""
    bundle = write_bundle(folder / ".expected" / str(seed), seed)
    return Predictor(Bundle(bundle), "cpu").predict(IMAGES).class_probability


def model_that_said(expected: dict[int, NDArray[np.float32]], answer: NDArray[np.float64]) -> int:
    (seed,) = (seed for seed, said in expected.items() if np.allclose(said, answer, rtol=1e-4))
    return seed


@pytest.fixture
def alone(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The service in this process, without keys."""
    monkeypatch.delenv(FOLDER, raising=False)
    with client_of(Settings(bundles=(repository,), device="cpu")) as client:
        yield client


@pytest.mark.parametrize("what", ["load", "unload"])
def test_without_api_keys_nobody_may(alone: TestClient, what: str) -> None:
    answer = alone.post(f"/v2/repository/models/one/{what}")
    assert (answer.status_code, list(answer.json())) == (403, ["error"])
    assert (
        "only with an API key of the scope 'admin', and this service has no keys; set CLUSTNET_API"
        in answer.json()["error"]
    )
    assert alone.get("/v2/models/one").status_code == 200


def test_only_signed_bundles_are_loaded(tmp_path: Path, keys: dict[str, str]) -> None:
    private, public = write_keys(tmp_path)
    folder = write_bundle(tmp_path / "models" / "one", name="one")
    sign(folder, private)
    settings = Settings(
        bundles=(tmp_path / "models",), device="cpu", verify_key=public, api_keys_file=Path(keys["file"])
    )
    headers = {"X-API-Key": keys["operator"]}
    with client_of(settings) as client:
        for damage, says in (((folder / SIGNATURE).unlink, "is not signed"), ((folder / "more").touch, "does not fit")):
            damage()
            answer = client.post("/v2/repository/models/one/load", headers=headers)
            assert (answer.status_code, says in answer.json()["error"]) == (400, True)
            assert client.get(f"{ONE}/ready", headers=headers).status_code == 200
            (folder / "more").unlink(missing_ok=True)
            sign(folder, private)
        assert client.post("/v2/repository/models/one/load", headers=headers).status_code == 200
