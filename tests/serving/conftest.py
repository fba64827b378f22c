from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from tests.synthetic import made_up_drift, write_bundle

# Arguments of ``write_bundle``: two coarse labels in grey, three in colour without names, and a single one.
KINDS: dict[str, dict[str, Any]] = {
    "two": {},
    "three": {"coarse": 3, "colour": True, "named": False},
    "one": {"coarse": 1},
}


def drift_of(kind: dict[str, Any]) -> dict[str, Any]:
    """Return a reference of drift that fits a bundle of this kind."""
    drift = made_up_drift()
    classes = 10 if kind.get("named", True) else 15
    return drift | {"guess": [100 - 6 * (classes - 1)] + [6] * (classes - 1)}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a random bundle of each kind; its name is the kind's."""
    root = tmp_path_factory.mktemp("kinds")
    return {name: write_bundle(root / name, name=name, drift=drift_of(kind), **kind) for name, kind in KINDS.items()}


@pytest.fixture(scope="session", params=KINDS)
def any_predictor(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Predictor:
    """The predictor of a bundle of each kind."""
    return Predictor(Bundle(folders[request.param]), "cpu")


@pytest.fixture(scope="session")
def client(synthetic_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The service in this process; one a session, as its settings are read when it is imported."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BENTOML_HOME", str(tmp_path_factory.mktemp("bentoml")))
        environment.setenv("CLUSTNET_BUNDLES", str(synthetic_bundle))
        environment.setenv("CLUSTNET_DEVICE", "cpu")
        environment.setenv("CLUSTNET_FEEDBACK", str(tmp_path_factory.mktemp("feedback") / "feedback.sqlite"))
        from serving.service import service

        application = service.to_asgi()
    with TestClient(application, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def client_of_any(client: TestClient, any_predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The same service with the model of ``any_predictor``."""
    from serving.api.pages import pages
    from serving.models.models import Models
    from serving.settings import Settings
    from serving.v2.routes import protocol

    service = protocol.state.answer.__self__
    # Kept before the other model is shown, which replaces it.
    monkeypatch.setitem(pages.state._state, "document", pages.state.document)
    models = Models(Settings(bundles=(any_predictor.bundle.folder,), device="cpu"), service._show)
    monkeypatch.setattr(service, "models", models)
    # Starlette's state has no attribute that setattr could restore.
    monkeypatch.setitem(protocol.state._state, "models", models)
    monkeypatch.setitem(pages.state._state, "models", models)
    return client
