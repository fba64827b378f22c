import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, Metric, generate_latest
from prometheus_client.registry import Collector

from serving.metrics.served import OfServed, forget_dead_workers


class Some(Collector):
    """A gauge with a version, and one without."""

    def collect(self) -> Iterator[Metric]:
        registry = CollectorRegistry()
        versioned = Gauge("versioned", "v", ["model", "version"], registry=registry)
        for model, version in (("mnist", "1"), ("mnist", "2"), ("other", "1")):
            versioned.labels(model, version).set(1)
        Gauge("plain", "p", ["model"], registry=registry).labels("gone").set(1)
        yield from registry.collect()


def test_only_models_that_are_served_have_gauges() -> None:
    registry = CollectorRegistry()
    registry.register(OfServed(Some(), {("mnist", "2"), ("other", "3")}))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert sorted(lines) == ['plain{model="gone"} 1.0', 'versioned{model="mnist",version="2"} 1.0']


def test_live_gauges_of_dead_workers_are_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [f"gauge_livemax_{os.getpid()}.db", "gauge_livesum_1.db", f"gauge_max_{dead.pid}.db"]
    kept += [f"counter_{dead.pid}.db"]
    for name in (*kept, f"gauge_livemax_{dead.pid}.db", f"gauge_livesum_{dead.pid}.db"):
        (tmp_path / name).touch()
    forget_dead_workers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
