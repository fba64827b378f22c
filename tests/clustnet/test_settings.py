import pytest

from clustnet.errors import UserError
from clustnet.settings import SHIPPED_BUNDLE, load_settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BUNDLES", "DEVICE", "WORKERS", "THREADS", "MAX_BODY_BYTES", "MAX_IMAGES"):
        monkeypatch.delenv(f"CLUSTNET_{name}", raising=False)


def test_defaults_serve_the_shipped_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTNET_WORKERS", "")
    settings = load_settings()
    assert (settings.bundles, settings.device, settings.workers) == (SHIPPED_BUNDLE, "auto", 1)


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTNET_MAX_IMAGES", "7")
    monkeypatch.setenv("CLUSTNET_DEVICE", "cpu")
    assert (load_settings().max_images, load_settings().device) == (7, "cpu")


@pytest.mark.parametrize(
    ("name", "value"), [("WORKERS", "0"), ("WORKERS", "many"), ("DEVICE", "tpu"), ("MAX_BODY_BYTES", "1")]
)
def test_a_value_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"CLUSTNET_{name}", value)
    with pytest.raises(UserError, match=f"CLUSTNET_{name} is '{value}', but the .*; change or unset it"):
        load_settings()
