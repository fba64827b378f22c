import pytest

from serving.keys.access import needed_scope
from serving.keys.keys import SCOPES
from serving.routes import (
    ENDPOINTS,
    EXAMPLE,
    INFER,
    INFER_METRIC,
    INFER_VERSION,
    MODEL_CARD,
    OTHER,
    endpoint_of,
    metric_of,
    route_of,
)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/predict", "/predict"),
        ("/docs.json", "/docs.json"),
        ("/docsxjson", OTHER),
        ("/predict/", OTHER),
        ("/secret", OTHER),
        ("/static/page.js", "/static/{file}"),
        ("/static/", OTHER),
        ("/static/a\n", OTHER),
        ("/examples/0/12.jpg", "/examples/{subtype}/{number}.jpg"),
        ("/examples/0/12xjpg", OTHER),
        ("/v2/models/secret/versions/7/infer", "/v2/models/{name}/versions/{version}/infer"),
        ("/v2/models/a/b/versions/7/infer", OTHER),
        ("/v2/models//versions/7/infer", OTHER),
    ],
)
def test_paths_have_the_declared_route(path: str, route: str) -> None:
    assert route_of(path) == route


def test_each_declared_path_is_its_own() -> None:
    assert [endpoint_of(endpoint.path) for endpoint in ENDPOINTS] == list(ENDPOINTS)
    assert {endpoint.scope for endpoint in ENDPOINTS} == {None, *SCOPES}


def test_infer_paths_share_a_metric() -> None:
    paths = ("/v2/models/a/infer", "/v2/models/a/versions/1/infer")
    assert [endpoint_of(path) for path in paths] == [INFER, INFER_VERSION]
    assert {metric_of(path) for path in paths} == {INFER_METRIC}
    assert INFER_VERSION.parameters(paths[1]) == {"name": "a", "version": "1"}
    assert metric_of("/metrics") == metric_of("/secret") == OTHER


def test_predictions_and_the_index_compute() -> None:
    computing = {endpoint.path for endpoint in ENDPOINTS if endpoint.computes}
    assert computing == {"/predict", "/predict_image", INFER.path, INFER_VERSION.path, "/v2/repository/index"}


def test_examples_need_what_the_card_needs() -> None:
    assert EXAMPLE.scope == MODEL_CARD.scope == "predict"


def test_unknown_paths_need_a_key() -> None:
    assert needed_scope("/secret", metrics_open=True) == "predict"
