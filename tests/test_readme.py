"""The README's code blocks are run, and their output must be as it is shown there.

In ``console`` blocks each ``$`` line is a command and what follows is its output; ``...`` stands for anything.
Numbers of trained runs differ between machines, so a number matches any number, except where the shipped bundle
answers: those must agree to two decimals.
"""

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.server import running_service

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PLACE = "127.0.0.1:3000"
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")
FROM_THE_SHIPPED_BUNDLE = ("clustnet predict", "clustnet evaluate")


def console_commands() -> list[tuple[str, str]]:
    """Return every command with the output that the README shows."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    commands = [part.partition("\n") for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)]
    return [(command, output) for command, _, output in commands if command]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_service(REPOSITORY / "models" / "mnist") as url:
        yield url.removeprefix("http://")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read, where they may write."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("README.md", "configs", "docs"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "models").mkdir()
    (folder / "models" / "mnist").symlink_to(REPOSITORY / "models" / "mnist")
    return folder


def run(command: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )
    return done.stdout or done.stderr  # progress goes to stderr; an error has nothing on stdout


def matches(shown: str, printed: str) -> bool:
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(NUMBER.sub("#", shown), NUMBER.sub("#", printed), options)


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


@pytest.mark.parametrize(("command", "shown"), console_commands())
def test_commands_print_what_the_readme_shows(command: str, shown: str, workplace: Path, service: str) -> None:
    printed = run(command.replace(PLACE, service), workplace).replace(service, PLACE)
    assert matches(shown.strip(), printed.strip()), f"{command}\n{printed}"
    if command.startswith(FROM_THE_SHIPPED_BUNDLE):
        assert numbers(printed) == pytest.approx(numbers(shown), abs=0.01)


def python_examples() -> list[tuple[str, str]]:
    """Return every example with the output that the README shows."""
    return re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL)


def test_every_python_block_has_its_output() -> None:
    assert len(python_examples()) == README.count("```python") > 1


@pytest.mark.parametrize(("code", "shown"), python_examples())
def test_python_examples_print_what_the_readme_shows(code: str, shown: str, workplace: Path, service: str) -> None:
    (workplace / "example.py").write_text(code.replace(PLACE, service))
    assert run(f"{sys.executable} example.py", workplace) == shown


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    (block,) = re.findall(r"```sh\n(make serve.*?)```", README, re.DOTALL)
    for target in re.findall(r"^make (\w+)", block, re.MULTILINE):
        assert f"\n{target}:" in makefile


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (REPOSITORY / target).exists(), target
