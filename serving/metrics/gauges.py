"""What becomes of gauges whose model or worker is gone."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.registry import Collector

VERSIONED = {"model", "version"}


class OfServed(Collector):
    """The metrics of a collector, without those of models and versions that are not served.

    prometheus_client keeps in the workers' files whatever was once written.

    Args:
        collector: has the metrics.
        served: the names and versions.
    """

    def __init__(self, collector: Collector, served: Collection[tuple[str, str]]) -> None:
        self.collector = collector
        self.served = served

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; what has no version stays as it is."""
        for metric in self.collector.collect():
            metric.samples = [
                sample
                for sample in metric.samples
                if not sample.labels.keys() >= VERSIONED
                or (sample.labels["model"], sample.labels["version"]) in self.served
            ]
            yield metric


def forget_the_dead(folder: Path) -> None:
    """Remove the live gauges of workers that are gone from prometheus_client's folder."""
    for file in folder.glob("gauge_live*_*.db"):
        if not _lives(int(file.stem.rpartition("_")[2])):
            file.unlink(missing_ok=True)  # another worker may do the same


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True
