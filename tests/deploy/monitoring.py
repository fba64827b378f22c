"""What ``deploy/`` says about monitoring, read from its files."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.serving.server import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
PROMETHEUS = DEPLOY / "prometheus" / "prometheus.yaml"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yaml"))
RULE_TESTS = sorted((DEPLOY / "prometheus" / "tests").glob("*.yaml"))
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yaml"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PAGE = REPOSITORY / "docs" / "monitoring.md"

SELECTOR = re.compile(r"\b((?:clustnet_|job\w*:|up\b)[\w:]*)(\{[^}]*\})?(?!\()")


def read(path: Path) -> Any:
    """Return a YAML or JSON file's content."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


def rules(kind: str) -> Iterator[dict[str, Any]]:
    """Yield all rules of a kind, ``alert`` or ``record``."""
    for path in RULES:
        for group in read(path)["groups"]:
            yield from (rule for rule in group["rules"] if kind in rule)


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """Return each query of each panel by the dashboard, the panel and its letter."""
    return {
        f"{path.stem}: {panel['title']} {target['refId']}": target["expr"]
        for path in DASHBOARDS
        for panel in panels(read(path))
        for target in panel["targets"]
    }


def selectors(query: str) -> set[str]:
    """Return the vector selectors of a PromQL expression, those of this project's metrics and of ``up``."""
    without_labels = re.sub(r"\b(by|on|ignoring|group_left|group_right) *\([^)]*\)", "", query)
    return {name + labels for name, labels in SELECTOR.findall(without_labels)}
