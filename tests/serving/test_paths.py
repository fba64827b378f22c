import pytest
from starlette.testclient import TestClient

UNKNOWN = [
    "/nothing",
    "/predict/",
    "/PREDICT",
    "/assets/index.html",
    "/static",
    "/é%00",
    "/v2x",
    "/v2/nothing",
    "/v2/a%0Ab",
    "/static/a%0A",
]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", UNKNOWN)
def test_unknown_paths_are_404_with_a_sentence(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, list(answer.json())) == (404, ["error"])
    assert answer.json()["error"].endswith(" is not a path of this service; see /docs.json.")


@pytest.mark.parametrize("path", ["/static/none.js", "/static/", "/static/%00", "/static/" + "x" * 5000])
def test_unknown_files_are_404_with_a_sentence(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, list(answer.json()), len(answer.content) < 200) == (404, ["error"], True)


def test_bodies_to_unknown_paths_are_not_read(client: TestClient) -> None:
    # It is not 413.
    assert client.post("/nothing", content=b"x" * (16 * 2**20 + 1)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "POST"),
        ("HEAD", "/predict_image", "POST"),
        ("OPTIONS", "/predict", "POST"),
        ("POST", "/metrics", "GET, HEAD"),
        ("PUT", "/", "GET, HEAD"),
        ("POST", "/livez", "GET, HEAD"),
        ("TRACE", "/docs.json", "GET, HEAD"),
        ("POST", "/static/page.js", "GET, HEAD"),
        ("POST", "/v2", "GET, HEAD"),
        ("GET", "/v2/repository/index", "POST"),
    ],
)
def test_other_methods_are_405_with_a_sentence(client: TestClient, method: str, path: str, allowed: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert answer.json() == {"error": f"'{path}' does not take {method}; it takes {allowed}."}


def test_a_long_method_is_repeated_in_part(client: TestClient) -> None:
    answer = client.request("X" * 9000, "/predict")
    assert (answer.status_code, len(answer.content) < 200) == (405, True)
