"""The examples of docs/migrating.md are run against the service, as those of the README are."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.settings import PREFIX, Settings
from tests.docs.pages import REPOSITORY, matches
from tests.docs.test_examples import PLACE, run
from tests.serving.server import free_port, running_service

PAGE = (REPOSITORY / "docs" / "migrating.md").read_text(encoding="utf-8")
RPC_PLACE = "127.0.0.1:8001"
CONSOLE = [
    part.partition("\n")[::2]
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
]
PYTHON = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, str]]:
    """Where the service answers, by where the page says that it does."""
    with free_port() as port, running_service(REPOSITORY / "models" / "mnist", CLUSTNET_GRPC_PORT=str(port)) as url:
        yield {PLACE: url.removeprefix("http://"), RPC_PLACE: f"127.0.0.1:{port}"}


def moved(text: str, places: dict[str, str]) -> str:
    for shown, real in places.items():
        text = text.replace(shown, real)
    return text


def test_every_example_has_its_output() -> None:
    assert len(PYTHON) == PAGE.count("```python") == 2
    assert len(CONSOLE) == 3


@pytest.mark.parametrize(("command", "shown"), CONSOLE)
def test_commands_print_what_is_shown(command: str, shown: str, places: dict[str, str]) -> None:
    printed = run(moved(command, places), REPOSITORY)
    assert matches(shown.strip(), printed.strip()), printed


@pytest.mark.parametrize(("code", "shown"), PYTHON)
def test_clients_print_what_is_shown(code: str, shown: str, places: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(moved(code, places))
    assert run(f"{sys.executable} example.py", tmp_path) == shown


def test_the_bundle_is_packed_as_shown(tmp_path: Path) -> None:
    run(f"mkdir models && cp -r {REPOSITORY}/models/mnist models/mnist", tmp_path)
    (packing,) = [block for block in SHELL if "clustnet pack" in block]
    printed = run(f"set -e; {packing}".replace("clustnet pack", f"{sys.executable} -m clustnet pack"), tmp_path)
    assert "Signed: models/mnist/model.sig" in printed
    assert (tmp_path / "mnist-image" / "index.json").is_file()


def test_settings_and_links_exist() -> None:
    for name in re.findall(rf"{PREFIX}([A-Z_]+)", PAGE):
        assert name.lower() in Settings.model_fields
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (REPOSITORY / "docs" / target).exists()
