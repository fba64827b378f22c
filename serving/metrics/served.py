"""The models that are served now, for Prometheus, and the gauges of models and workers that are gone."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from clustnet.bundles.bundle import Manifest
from serving.processes import lives

# How the manifest names the scores of expert load, one for each expert.
LOAD = "expert_load/"
VERSIONED_LABELS = {"model", "version"}


class ModelInfo(Collector):
    """Gauges of the models that are served now; a stored gauge would go on showing models that are unloaded.

    Args:
        models: the manifest and the execution provider of each model, and whether it is ready.
    """

    def __init__(self, models: Iterable[tuple[Manifest, str, bool]]) -> None:
        self.models = models

    def collect(self) -> Iterator[Metric]:
        """Yield ``clustnet_model_info``, ``clustnet_model_ready`` and the two references of live traffic."""
        info = _gauge("model_info", "1 for each model that is served and what runs it.", "name", "version", "provider")
        ready = _gauge("model_ready", "1 for each model that is ready, 0 for each that is not.", "model", "version")
        load = _gauge("expert_load_reference", "Share of images by expert when scored.", "model", "version", "expert")
        share = _gauge(
            "abstention_share_reference", "Share of images that the threshold was set for.", "model", "version"
        )
        for manifest, provider, is_ready in self.models:
            model = (manifest.name, manifest.version)
            info.add_metric([*model, provider], 1)
            ready.add_metric(model, is_ready)
            share.add_metric(model, manifest.abstention.share)
            for expert, part in _load(manifest).items():
                load.add_metric([*model, expert], part)
        yield from (info, ready, load, share)


class OfServed(Collector):
    """The metrics of a collector, without those of models and versions that are not served now.

    prometheus_client keeps in the workers' files whatever was once written there.

    Args:
        collector: yields the metrics.
        served: the name and version of each model that is served.
    """

    def __init__(self, collector: Collector, served: Collection[tuple[str, str]]) -> None:
        self.collector = collector
        self.served = served

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; samples without a version stay."""
        for metric in self.collector.collect():
            metric.samples = [
                sample
                for sample in metric.samples
                if not sample.labels.keys() >= VERSIONED_LABELS
                or (sample.labels["model"], sample.labels["version"]) in self.served
            ]
            yield metric


def forget_dead_workers(folder: Path) -> None:
    """Remove the live gauges of workers that are gone from prometheus_client's folder."""
    for file in folder.glob("gauge_live*_*.db"):
        if not lives(int(file.stem.rpartition("_")[2])):
            # Another worker may remove it at the same time.
            file.unlink(missing_ok=True)


def _gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"clustnet_{name}", documentation, labels=labels)


def _load(manifest: Manifest) -> dict[str, float]:
    """Return each expert's share of images in the manifest's drift reference or, without one, in its scores."""
    if manifest.drift:
        counts = manifest.drift.expert_load
        return {str(expert): count / sum(counts) for expert, count in enumerate(counts)}
    return {score.name.removeprefix(LOAD): score.value for score in manifest.scores if score.name.startswith(LOAD)}
