"""The compose file, against the files and the Dockerfile that it starts; Docker itself is not needed."""

import re
from typing import Any

import pytest

import clustnet
from serving.settings import Settings
from tests.deploy.monitoring import DEPLOY, PROMETHEUS, read
from tests.serving.server import REPOSITORY

COMPOSE = read(DEPLOY / "compose.yaml")
SERVICES = [pytest.param(name, service, id=name) for name, service in COMPOSE["services"].items()]


@pytest.mark.parametrize(("name", "service"), SERVICES)
def test_every_container_is_hardened_and_pinned(name: str, service: dict[str, Any]) -> None:
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+(-cpu)?", service["image"])


@pytest.mark.parametrize(("name", "service"), SERVICES)
def test_nothing_listens_to_other_machines(name: str, service: dict[str, Any]) -> None:
    for port in service["ports"]:
        assert port.startswith("127.0.0.1:")


def test_examples_listen_to_this_machine_alone() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    published = [port for page in pages for port in re.findall(r"(?:--publish|-p) (\S*:\d+)", page.read_text())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    makefile = (REPOSITORY / "Makefile").read_text()
    assert "\nHOST ?= 127.0.0.1\n" in makefile
    assert "serve --host $(HOST) --port $(PORT)" in makefile
    assert Settings().grpc_host == "127.0.0.1"


@pytest.mark.parametrize(("name", "service"), SERVICES)
def test_what_is_mounted_is_there(name: str, service: dict[str, Any]) -> None:
    for mount in service.get("volumes", []):
        source, _, *mode = mount.split(":")
        if source.startswith("./"):
            assert (DEPLOY / source).is_dir()
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]
            assert not mode


def test_the_image_is_this_release_and_drains() -> None:
    service = COMPOSE["services"]["clustnet"]
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    (grace,) = re.findall(r'"--timeout-graceful-shutdown", "(\d+)"', dockerfile)
    assert service["image"] == f"clustnet:{clustnet.__version__}-cpu"
    assert int(service["stop_grace_period"].removesuffix("s")) > int(grace)


def test_the_containers_find_each_other() -> None:
    config = read(PROMETHEUS)
    scraped = {
        job["job_name"]: target
        for job in config["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    (source,) = read(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    for name, address in {**scraped, "prometheus": source["url"].removeprefix("http://")}.items():
        host, _, port = address.partition(":")
        assert host == name
        assert any(each.endswith(f":{port}") for each in COMPOSE["services"][host]["ports"])


def test_grafana_is_open_for_reading_only() -> None:
    settings = COMPOSE["services"]["grafana"]["environment"]
    assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert not any("PASSWORD" in name for name in settings)
