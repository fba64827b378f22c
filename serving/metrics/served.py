"""The models of the moment, for Prometheus: what runs each, whether it is ready, what was usual when it was made."""

from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from clustnet.bundles.bundle import Manifest

LOAD = "expert_load/"  # scores of the manifest, one an expert


class ModelInfo(Collector):
    """Gauges of the models that are served now; a stored one would go on showing those that are unloaded.

    Args:
        models: the manifest and the execution provider of each, and whether it is ready.
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


def _gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"clustnet_{name}", documentation, labels=labels)


def _load(manifest: Manifest) -> dict[str, float]:
    """Return each expert's share of the images of the manifest's reference of drift, or else of those of its scores."""
    if manifest.drift:
        counts = manifest.drift.expert_load
        return {str(expert): count / sum(counts) for expert, count in enumerate(counts)}
    return {score.name.removeprefix(LOAD): score.value for score in manifest.scores if score.name.startswith(LOAD)}
