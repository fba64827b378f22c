"""The code blocks of the README and of some pages are run, and their output must be as it is shown there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY, RUN, console_commands, matches, numbers, python_examples, read
from tests.serving.server import running_service

PLACE = "127.0.0.1:3000"
FROM_THE_SHIPPED_BUNDLE = ("clustnet predict", "clustnet evaluate")


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with running_service(REPOSITORY / "models" / "mnist") as url:
        yield url.removeprefix("http://")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read, where they may write."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("README.md", "configs", "docs"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "models").mkdir()
    (folder / "models" / "mnist").symlink_to(REPOSITORY / "models" / "mnist")
    return folder


@pytest.fixture(scope="module")
def printed_before() -> dict[str, str]:
    """What commands printed, which several pages show."""
    return {}


def run(command: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )
    return done.stdout or done.stderr  # progress goes to stderr; an error has nothing on stdout


@pytest.mark.parametrize(("command", "shown"), [pair for page in RUN for pair in console_commands(page)])
def test_commands_print_what_is_shown(
    command: str, shown: str, workplace: Path, service: str, printed_before: dict[str, str]
) -> None:
    if command not in printed_before:
        printed_before[command] = run(command.replace(PLACE, service), workplace).replace(service, PLACE)
    printed = printed_before[command]
    assert matches(shown.strip(), printed.strip()), f"{command}\n{printed}"
    if command.startswith(FROM_THE_SHIPPED_BUNDLE):
        assert numbers(printed) == pytest.approx(numbers(shown), abs=0.01)


@pytest.mark.parametrize("page", RUN)
def test_every_python_block_has_its_output(page: str) -> None:
    assert len(python_examples(page)) == read(page).count("```python")


# A dictionary leaves out what several pages show.
@pytest.mark.parametrize(("code", "shown"), dict.fromkeys(pair for page in RUN for pair in python_examples(page)))
def test_python_examples_print_what_is_shown(code: str, shown: str, workplace: Path, service: str) -> None:
    (workplace / "example.py").write_text(code.replace(PLACE, service))
    assert run(f"{sys.executable} example.py", workplace) == shown


def test_the_commands_of_make_are_its_targets() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for page in RUN:
        for target in re.findall(r"^(?:\S+=\S+ )?make ([\w-]+)", "\n".join(sh_blocks(page)), re.MULTILINE):
            assert f"\n{target}:" in makefile, (page, target)


def sh_blocks(page: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", read(page), re.DOTALL)


def test_the_tours_begin_with_their_python() -> None:
    """Each tour of the README says which Python it runs in before its first example."""
    tours = read("README.md").split("\n## A tour ")[1:]
    assert len(tours) == 2
    for tour in tours:
        assert ".venv/all/bin/" in tour[: re.search(r"```(?:console|python)", tour).start()]


def test_the_readme_is_short() -> None:
    assert read("README.md").count("\n") <= 180
