from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from starlette.testclient import TestClient

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.predictor import Predictor
from serving.app import build_app
from serving.settings import Settings
from tests.chromium import headless
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; of a module, as Playwright's event loop would hinder other modules' tests."""
    with headless() as browser:
        yield browser


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
    """The service in this process, over ASGI."""
    feedback = tmp_path_factory.mktemp("feedback") / "feedback.sqlite"
    with client_of(Settings(bundles=(synthetic_bundle,), device="cpu", feedback=feedback)) as client:
        yield client


@pytest.fixture
def client_of_any(any_predictor: Predictor, tmp_path: Path) -> Iterator[TestClient]:
    """The same with the model of ``any_predictor``."""
    folder = any_predictor.bundle.folder
    with client_of(Settings(bundles=(folder,), device="cpu", feedback=tmp_path / "feedback.sqlite")) as client:
        yield client


@contextmanager
def client_of(settings: Settings) -> Iterator[TestClient]:
    """Run the service with these settings in this process."""
    with TestClient(build_app(settings), base_url="http://127.0.0.1") as client:
        yield client
