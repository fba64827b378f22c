from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient


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
