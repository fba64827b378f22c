"""Prometheus' rules and Alertmanager's routes, checked and tested by the tools that come with both."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.monitoring import ALERTMANAGER, PAGE, PROMETHEUS, RULE_TESTS, RULES, read, rules
from tests.serving.server import REPOSITORY

ALERTS = [pytest.param(rule, id=rule["alert"]) for rule in rules("alert")]
PROMTOOL = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not here (Debian: prometheus)")
AMTOOL = pytest.mark.skipif(not shutil.which("amtool"), reason="amtool is not here (Debian: prometheus-alertmanager)")


def run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@PROMTOOL
def test_the_configuration_and_its_rules_are_valid() -> None:
    said = run("promtool", "check", "config", "--lint-fatal", PROMETHEUS)
    assert f"SUCCESS: {len(RULES)} rule files found" in said


@PROMTOOL
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_only_when_they_should(path: Path) -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", path)


@AMTOOL
def test_alertmanagers_configuration_is_valid() -> None:
    assert "2 receivers" in run("amtool", "check-config", ALERTMANAGER)


@AMTOOL
@pytest.mark.parametrize("rule", ALERTS)
def test_every_alert_has_a_receiver(rule: dict[str, Any]) -> None:
    labels = [f"alertname={rule['alert']}", f"severity={rule['labels']['severity']}"]
    route = run("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels)
    assert route.strip() == rule["labels"]["severity"]


@pytest.mark.parametrize("rule", ALERTS)
def test_every_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    assert notes["summary"].endswith(".")
    assert notes["description"].endswith(".")
    page, _, anchor = notes["runbook"].partition("#")
    headings = re.findall(r"^#+ (\S+)$", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert REPOSITORY / page == PAGE
    assert rule["alert"] in headings
    assert anchor == rule["alert"].lower()


@pytest.mark.parametrize("rules_path", RULES, ids=lambda path: path.stem)
def test_every_alert_is_tested_both_ways(rules_path: Path) -> None:
    alerts = {rule["alert"] for group in read(rules_path)["groups"] for rule in group["rules"] if "alert" in rule}
    (tests,) = [read(path)["tests"] for path in RULE_TESTS if path.stem == rules_path.stem]
    checks = [check for test in tests for check in test["promql_expr_test"]]
    fired = str([check for check in checks if check["exp_samples"]])
    assert {name for name in alerts if f'alertname="{name}"' in fired} == alerts
    assert any(check["expr"] == "ALERTS" and not check["exp_samples"] for check in checks)
