"""The dashboards, as far as they can be checked without Grafana: their JSON against what its schema wants of it."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

import serving.metrics.drift  # noqa: F401 - registers the metrics
from clustnet.bundles.bundle import Bundle
from serving.metrics.served import ModelInfo
from serving.settings import SHIPPED_BUNDLE
from tests.deploy.monitoring import DASHBOARDS, DEPLOY, panels, queries, read, rules, selectors

BOARDS = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
# Some of Grafana's units.
UNITS = {"none", "short", "s", "reqps", "percentunit"}
KINDS = {"stat", "timeseries", "heatmap", "table", "state-timeline"}
COLUMNS = 24
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@BOARDS
def test_panels_are_told_apart_and_do_not_overlap(path: Path) -> None:
    every = read(path)["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in every)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) == COLUMNS - 1


@BOARDS
def test_panels_say_what_they_show_and_where_from(path: Path) -> None:
    (source,) = read(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    reference = {"type": source["type"], "uid": source["uid"]}
    board = read(path)
    for panel in panels(board):
        assert panel["type"] in KINDS
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [reference] * (
            1 + len(panel["targets"])
        )
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))
        assert all(target["expr"] and "legendFormat" in target for target in panel["targets"])
    for variable in board["templating"]["list"]:
        assert variable["datasource"] == reference


@BOARDS
def test_thresholds_begin_below_everything_and_rise(path: Path) -> None:
    for panel in panels(read(path)):
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {"steps": [{"value": None}]})["steps"]
        first, *others = [step["value"] for step in steps]
        assert first is None
        assert others == sorted(set(others))


@BOARDS
def test_variables_are_there_and_used(path: Path) -> None:
    board = read(path)
    names = {variable["name"] for variable in board["templating"]["list"]}
    used = {name for panel in panels(board) for name in re.findall(r"\$(\w+)", str(panel["targets"]))}
    assert used - {"__rate_interval"} == names


def test_dashboards_are_told_apart() -> None:
    boards = [read(path) for path in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(boards) == 2


def known_series() -> set[str]:
    """Return the names of all series that the service and the rules make."""
    info = ModelInfo([(Bundle(SHIPPED_BUNDLE).manifest, "CPUExecutionProvider", True)])
    metrics = itertools.chain(REGISTRY.collect(), info.collect())
    made = {metric.name + suffix for metric in metrics for suffix in SUFFIXES.get(metric.type, ())}
    return made | {rule["record"] for rule in rules("record")} | {"up"}


def expressions() -> dict[str, str]:
    alerts: dict[str, Any] = {rule["alert"]: rule["expr"] for rule in rules("alert")}
    return queries() | alerts | {rule["record"]: rule["expr"] for rule in rules("record")}


@pytest.mark.parametrize("expression", expressions().values(), ids=expressions())
def test_every_queried_metric_exists(expression: str) -> None:
    names = {selector.partition("{")[0] for selector in selectors(expression)}
    assert names or "ALERTS" in expression
    assert names <= known_series()
