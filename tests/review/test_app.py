"""The application in-process, asked as a browser asks it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from clustnet.corrections.session import Session
from review.app import MAX_BODY_BYTES, make_app
from review.run import open_run
from review.worker import Worker
from tests.review.runs import write_run

TOKEN, ADDRESS = "secret", "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.stop()


@pytest.fixture
def stranger(tmp_path: Path, worker: Worker) -> TestClient:
    run = open_run(write_run(tmp_path / "photos", 24))
    app = make_app(run, Session(run.path, run.found), worker, TOKEN, frozenset({"localhost"}))
    return TestClient(app, base_url=ADDRESS, follow_redirects=False)


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    assert stranger.get(f"/?token={TOKEN}").headers["location"] == "/"
    return stranger


def do(client: TestClient, expected: int, *actions: dict[str, Any]) -> Any:
    return client.post("/do", json={"expected": expected, "actions": actions})


def named(name: str) -> dict[str, Any]:
    return {"verb": "rename", "subtype": "animals/1", "name": name}


def test_a_token_is_needed_for_everything(stranger: TestClient) -> None:
    for path in ("/", "/facts", "/state", "/map", "/pictures/small/0", "/static/page.js", "/?token=guess", "/gone"):
        answer = stranger.get(path)
        assert (answer.status_code, "token lets you in" in answer.text) == (403, True)
    assert do(stranger, 0, named("x")).status_code == 403


def test_the_cookie_is_kept_from_other_sites(stranger: TestClient) -> None:
    answer = stranger.get(f"/?token={TOKEN}")
    cookie = answer.headers["set-cookie"].lower()
    assert (answer.status_code, "httponly" in cookie, "samesite=strict" in cookie) == (303, True, True)
    assert TOKEN not in answer.headers["location"]


def test_the_page_runs_nothing_from_elsewhere(client: TestClient) -> None:
    headers = client.get("/").headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "[", "127.0.0.1.evil.example:8080"])
def test_another_name_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/state", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "192.168.0.7"])
def test_own_names_are_served(stranger: TestClient, host: str) -> None:
    assert stranger.get(f"/?token={TOKEN}", headers={"host": host}).status_code == 303


def test_another_site_cannot_act(client: TestClient) -> None:
    body = json.dumps({"expected": 0, "actions": [named("x")]})
    as_json = {"content-type": "application/json"}
    assert client.post("/do", content=body, headers=as_json | {"origin": "http://evil.example"}).status_code == 403
    assert client.post("/do", content=body, headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/do", content=body, headers=as_json | {"origin": ADDRESS}).status_code == 200


def test_the_state_follows_actions(client: TestClient) -> None:
    state = do(client, 0, named("cat"), {"verb": "merge", "subtypes": ["vehicles/1", "vehicles/2"]}).json()
    assert [(one["id"], one["name"], one["images"]) for one in state["subtypes"]] == [
        ("animals/1", "cat", 6),
        ("animals/2", "", 6),
        ("vehicles/1", "", 12),
    ]
    assert (state["serial"], state["undo"], state["next"]["vehicles"]) == (
        2,
        "merge vehicles/1, vehicles/2",
        "vehicles/3",
    )
    assert [merge["merged"] for merge in state["tree"]] == ["animals/+1"]
    assert client.get("/state").json() == state
    assert client.get("/state?after=2").status_code == 204
    shown = state["subtypes"][2]["sheet"]
    assert sorted(shown["typical"] + shown["borderline"] + shown["odd"]) == list(range(12, 24))


def test_facts_name_suspects_and_duplicates(client: TestClient) -> None:
    facts = client.get("/facts").json()
    assert (facts["suspects"], facts["duplicates"]) == ({"12": "animals"}, {"11": 0})
    assert facts["files"][12] == "vehicles/00012.jpg"


def test_two_tabs_do_not_fight(client: TestClient) -> None:
    assert do(client, 0, named("cat")).status_code == 200
    answer = do(client, 0, named("dog"))
    assert (answer.status_code, "Somebody else changed this review" in answer.text) == (409, True)
    assert client.post("/split", json={"expected": 0, "subtype": "animals/1", "parts": 2}).status_code == 409
    assert client.get("/state").json()["subtypes"][0]["name"] == "cat"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "valid dictionary"),
        (b'{"expected": 0, "actions": []}', "actions: List should have at least 1 item"),
        (b'{"expected": "0", "actions": [1]}', "expected: Input should be a valid integer"),
        (b'{"expected": 0, "actions": [1]}', "not a review action"),
        (b'{"expected": 0, "actions": [{"verb": "fly"}]}', "not a review action"),
        (b'{"expected": 0, "actions": [{"verb": "undo"}]}', "nothing to undo"),
    ],
)
def test_a_wrong_request_is_a_sentence(client: TestClient, body: bytes, said: str) -> None:
    answer = client.post("/do", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, said in answer.text) == (400, True), answer.text


def test_a_large_body_is_refused(client: TestClient) -> None:
    body = b" " * (MAX_BODY_BYTES + 1)
    answer = client.post("/do", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.text) == (413, "Send at most 16 MiB.")


def test_pictures_are_small_jpegs(client: TestClient) -> None:
    answer = client.get("/pictures/small/5")
    assert (answer.headers["content-type"], answer.content[:2]) == ("image/jpeg", b"\xff\xd8")
    assert client.get("/pictures/large/5").status_code == 200
    assert client.get("/pictures/small/24").status_code == 404


def test_a_file_that_is_gone_is_404(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "photos" / "images" / "train" / "animals" / "00003.jpg").unlink()
    answer = client.get("/pictures/large/3")
    assert (answer.status_code, answer.text) == (404, "The file can no longer be read.")


@pytest.mark.heavy
def test_map_and_split_are_made_elsewhere(client: TestClient) -> None:
    assert client.get("/map").status_code == 202
    while (answer := client.get("/map")).status_code == 202:
        time.sleep(0.1)
    places = answer.json()
    assert (len(places["x"]), min(places["x"] + places["y"]) >= 0, max(places["x"] + places["y"]) <= 10_000) == (
        24,
        True,
        True,
    )
    state = client.post("/split", json={"expected": 0, "subtype": "animals/1", "parts": 2}).json()
    assert [one["id"] for one in state["subtypes"]] == [
        "animals/1",
        "animals/2",
        "animals/3",
        "vehicles/1",
        "vehicles/2",
    ]
    answer = client.post("/split", json={"expected": 1, "subtype": "animals/9", "parts": 2})
    assert (answer.status_code, "no subtype 'animals/9'" in answer.text) == (400, True)
