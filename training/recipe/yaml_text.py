"""YAML 1.2, in which recipes are written: yes is not true, 010 is not 8, 1:30 is not 90, and no key occurs twice.

1e-3 is read as a text, which numeric keys also take, and 0o7 is not a number, so that recipes written by earlier
versions are read in the same way.
Nothing here needs torch.
"""

import io
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import BaseResolver

from clustnet.errors import UserError

# What plain words mean, by the tags of YAML's core schema.
PLAIN = {
    "null": (r"~|null|Null|NULL|", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": (r"<<", "<"),
}
# What needs no quotes, unless it is a word that some version of YAML reads as something else.
UNQUOTED = re.compile(r"[A-Za-z/_][\w/.+*-]*", re.ASCII)
MAX_LINE_CHARACTERS = 4096
WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


class _Resolver(BaseResolver):
    """Knows the plain words above; all others are texts."""

    def __init__(self, version: Any = None, loader: Any = None, loadumper: Any = None) -> None:  # noqa: ARG002
        super().__init__(loader or loadumper)

    @property
    def processing_version(self) -> tuple[int, int]:
        """The version of YAML, in which 010 is 10."""
        return (1, 2)


for _name, (_pattern, _first) in PLAIN.items():
    _starts = [*_first, ""] if _name == "null" else list(_first)
    _Resolver.add_implicit_resolver_base(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), _starts)


class _Representer(SafeRepresenter):
    """Quotes each text that any version of YAML could read as something else."""

    def represent_text(self, text: str) -> ScalarNode:
        """Return a text, in quotes where it needs them."""
        if UNQUOTED.fullmatch(text) and text.lower() not in WORDS:
            style = None
        else:
            style = "'" if text.isascii() and text.isprintable() else '"'
        node: ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", text, style=style)
        return node

    def represent_number(self, number: float) -> ScalarNode:
        """Return a number with a point, which older versions of YAML need."""
        text = repr(number)
        text = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(text, text)
        if "e" in text and "." not in text:
            text = text.replace("e", ".0e")
        node: ScalarNode = self.represent_scalar("tag:yaml.org,2002:float", text)
        return node


_Representer.add_representer(str, _Representer.represent_text)
_Representer.add_representer(float, _Representer.represent_number)


def read_yaml(text: str, source: str) -> Any:
    """Return the content of a YAML document.

    Args:
        text: one document.
        source: where it is from, for the error.

    Raises:
        UserError: the text is not YAML, a key occurs twice, or a value contains itself.
    """
    try:
        content = _yaml().load(text)
        _walk(content)
    except DuplicateKeyError as error:
        key = re.match(r'found duplicate key "(.*?)" with value', str(error.problem), re.DOTALL)
        named = repr(key[1]) if key else "a key"
        line = error.problem_mark.line + 1
        raise UserError(f"{source} has {named} twice, the second time in line {line}; leave one out.") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source} is not YAML: {' '.join(str(error).split())}.") from None
    return content


def write_yaml(content: Any) -> str:
    """Return plain values as YAML, which ``read_yaml`` and readers of older versions read back."""
    stream = io.StringIO()
    _yaml().dump(content, stream)
    return stream.getvalue()


def _yaml() -> Any:
    """Return a new reader and writer, as these keep state."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Resolver = _Resolver
    yaml.Representer = _Representer
    yaml.default_flow_style = None
    # Otherwise it breaks lines before values.
    yaml.width = MAX_LINE_CHARACTERS
    yaml.sort_base_mapping_type_on_output = False
    return yaml


def _walk(content: Any) -> None:
    """Visit everything in ``content``.

    Raises:
        RecursionError: it contains itself.
    """
    for inner in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        _walk(inner)


def read_mapping(path: Path, example: str, folder: str) -> dict[str, Any]:
    """Return the keys and values of a recipe's file.

    Args:
        path: the file.
        example: a file to name instead, for the error.
        folder: the folder of such files, for the error.

    Raises:
        UserError: the file cannot be read, or holds no YAML mapping.
    """
    try:
        content = read_yaml(path.read_text(encoding="utf-8"), f"The recipe {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The recipe {path} cannot be read ({error}); name a YAML file such as {example}.") from None
    if not isinstance(content, dict):
        raise UserError(f"The recipe {path} must be a mapping of keys to values, as those in {folder} are.")
    return content
