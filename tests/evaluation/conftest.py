from collections.abc import Iterator

import pytest

from clustnet.bundles.predictor import Predictor
from tests.evaluation.stub import Stub, running


@pytest.fixture
def quick_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves the seconds that rendering takes where a test does not look at the plots."""
    monkeypatch.setattr("evaluation.report.figures.png", lambda figure: b"no plot")


@pytest.fixture
def small_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves some of that time where a test looks at the plots."""
    monkeypatch.setattr("evaluation.report.figures.DPI", 40)


@pytest.fixture
def stub(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running(Stub(predictor)) as serving:
        yield serving
