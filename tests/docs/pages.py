"""The pages that people read, their examples, and how what is shown is compared with what is printed.

In ``console`` blocks each ``$`` line is a command and what follows is its output; ``...`` stands for anything.
Numbers of trained runs differ between machines, so a number matches any number, except where the shipped bundle
answers: those must agree to two decimals.
"""

import doctest
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
# Whose console and Python blocks are run; other pages show trainings of minutes, or data that are not here.
RUN = ("README.md", "docs/start.md", "docs/serving.md", "docs/evaluation.md", "docs/recipes.md", "docs/python.md")
PAGES = sorted({"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"}) + sorted(
    str(page.relative_to(REPOSITORY)) for page in DOCS.rglob("*.md")
)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")


def read(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def console_commands(page: str) -> list[tuple[str, str]]:
    """Return every command with the output that the page shows."""
    blocks = re.findall(r"```console\n(.*?)```", read(page), re.DOTALL)
    commands = [part.partition("\n") for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)]
    return [(command, output) for command, _, output in commands if command]


def python_examples(page: str) -> list[tuple[str, str]]:
    """Return every example with the output that the page shows."""
    return re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", read(page), re.DOTALL)


def matches(shown: str, printed: str) -> bool:
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(NUMBER.sub("#", shown), NUMBER.sub("#", printed), options)


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]
