import os
from pathlib import Path

import pytest

from clustnet.errors import UserError
from serving.settings import Settings, hand_down_paths, load_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CLUSTNET_{name.upper()}", raising=False)


def test_defaults_serve_the_shipped_bundle() -> None:
    settings = load_settings()
    assert settings.bundles == (Path(__file__).resolve().parents[2] / "models" / "mnist",)
    assert (settings.device, settings.workers, settings.threads, settings.experts) == ("auto", 1, 1, "all")
    assert (settings.max_body_bytes, settings.max_images) == (16_777_216, 1024)
    assert settings.drift_window == 1000
    assert (settings.api_keys_file, settings.metrics_open, settings.log_requests) == (None, True, "errors")


def test_empty_variables_set_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTNET_WORKERS", "3")
    monkeypatch.setenv("CLUSTNET_DEVICE", "")
    assert (load_settings().workers, load_settings().device) == (3, "auto")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("BUNDLE", "BUNDLES"), ("MAX_IMAGE", "MAX_IMAGES"), ("LOGREQUESTS", "LOG_REQUESTS"), ("CASHE", "CACHE")],
)
def test_misspelt_variables_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.setenv(f"CLUSTNET_{name}", "1")
    says = f"^There is no setting CLUSTNET_{name}, but CLUSTNET_{meant}; rename or unset it.$"
    with pytest.raises(UserError, match=says):
        load_settings()


@pytest.mark.parametrize("name", ["PORT", "SERVICE_HOST", "PORT_3000_TCP_ADDR", "API_KEY", "CACHE", "TEST_DATA"])
def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"CLUSTNET_{name}", "1")
    assert load_settings() == Settings()


def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().cors_origins == ()
    monkeypatch.setenv("CLUSTNET_CORS_ORIGINS", "https://a.example, http://127.0.0.1:8000")
    assert load_settings().cors_origins == ("https://a.example", "http://127.0.0.1:8000")
    monkeypatch.setenv("CLUSTNET_CORS_ORIGINS", "*")
    assert load_settings().cors_origins == ("*",)


@pytest.mark.parametrize(
    ("value", "folders"), [("a", ["a"]), ("a:/b/c", ["a", "/b/c"]), (":a::b:", ["a", "b"]), ("a b", ["a b"])]
)
def test_bundles_are_a_search_path(monkeypatch: pytest.MonkeyPatch, value: str, folders: list[str]) -> None:
    monkeypatch.setenv("CLUSTNET_BUNDLES", value.replace(":", os.pathsep))
    assert load_settings().bundles == tuple(map(Path, folders))


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("WORKERS", "0", "greater than or equal to 1"),
        ("WORKERS", "two", "valid integer"),
        ("DEVICE", "tpu", "'auto', 'cpu' or 'cuda'"),
        ("EXPERTS", "top", "'all' or 'chosen'"),
        ("METRICS_OPEN", "perhaps", "valid boolean"),
        ("MAX_BODY_BYTES", "10", "greater than or equal to 1024"),
        ("CORS_ORIGINS", "https://a.example/", "origins such as https://example.org, separated by commas, or *"),
        ("CORS_ORIGINS", "a.example", "origins such as"),
        ("CORS_ORIGINS", "https://a.example,,", "origins such as"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, rule: str) -> None:
    monkeypatch.setenv(f"CLUSTNET_{name}", value)
    with pytest.raises(UserError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"CLUSTNET_{name} is '{value}', but the input should be ")
    assert rule in str(caught.value)


def test_handed_down_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTNET_BUNDLES", os.pathsep.join(["a", "/b"]))
    monkeypatch.setenv("CLUSTNET_API_KEYS_FILE", "keys")
    monkeypatch.setenv("CLUSTNET_FEEDBACK", "told.sqlite")
    monkeypatch.setenv("CLUSTNET_VERIFY_KEY", "key.pub")
    monkeypatch.chdir(tmp_path)
    hand_down_paths(load_settings())
    monkeypatch.chdir("/")
    assert load_settings().bundles == (tmp_path / "a", Path("/b"))
    assert load_settings().api_keys_file == tmp_path / "keys"
    assert load_settings().verify_key == tmp_path / "key.pub"
    assert load_settings().feedback == tmp_path / "told.sqlite"


def test_unset_paths_stay_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTNET_BUNDLES", "a")
    hand_down_paths(load_settings())
    assert load_settings().api_keys_file is None
