"""The models at one moment, and their descriptions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clustnet.bundles.bundle import Bundle, Manifest, example_file
from clustnet.bundles.evaluation_file import read_evaluation
from clustnet.bundles.predictor import Predictor
from clustnet.errors import UserError
from serving.refusals import Refusal, quote
from serving.routes import LOAD

MAX_LISTED_NAMES = 10
# The reason that Triton's index gives.
UNLOADED = "unloaded"
# The data set that the page's strip of test digits is from.
DIGITS = "mnist"
# The limit on all example images of a model, because they stay in memory.
MAX_EXAMPLE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ServedModel:
    """One version of a model, ready to answer.

    Args:
        predictor: computes the answers; its manifest names the model.
        fault: why the model is not ready, None if it is.
        card: the answer of ``/model.json``, except for what depends on the service.
        examples: the content of each example image, by its name in the bundle.
    """

    predictor: Predictor
    fault: str | None = None
    card: dict[str, Any] = field(default_factory=dict)
    examples: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        """Return the bundle's manifest."""
        return self.predictor.manifest

    def info(self) -> tuple[Manifest, str, bool]:
        """Return the manifest, what runs the model, and whether it is ready."""
        return self.manifest, self.predictor.provider, self.fault is None

    def check_ready(self) -> None:
        """Refuse with 503 while the model is not ready."""
        if self.fault:
            raise Refusal(503, "not_ready", self.fault)


@dataclass(frozen=True)
class Catalogue:
    """The models at one moment; a request that holds a model keeps it, whatever is loaded meanwhile.

    Args:
        default: the name of the model that answers if a request names none.
        models: the versions of each model, newest first.
        unloaded: the versions that each unloaded model had.
        generation: the generation of the agreement that this catalogue follows.
    """

    default: str
    models: Mapping[str, tuple[ServedModel, ...]]
    unloaded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    generation: int = 0

    def all(self) -> list[ServedModel]:
        """Return all versions of all models, those of the default model first."""
        names = sorted(self.models, key=lambda name: name != self.default)
        return [model for name in names for model in self.models[name]]

    def versions(self, name: str | None = None) -> tuple[ServedModel, ...]:
        """Return all versions of a model, newest first; None is the default model.

        Raises:
            Refusal: 404, there is no such model, or it is unloaded.
        """
        name = self.default if name is None else name
        if name in self.models:
            return self.models[name]
        if name in self.unloaded:
            path = LOAD.path.format(name=name)
            message = f"The model '{name}' is unloaded; load it with POST {path}."
            raise Refusal(404, "unknown_model", message)
        raise unknown_model(name, self.models)

    def find(self, name: str | None = None, version: str | None = None) -> ServedModel:
        """Return one version of a model, by default the newest one.

        Raises:
            Refusal: 404, as for ``versions``, or there is no such version.
        """
        versions = self.versions(name)
        for model in versions:
            if version in (None, model.manifest.version):
                return model
        found = _listed(model.manifest.version for model in versions)
        message = f"'{versions[0].manifest.name}' has no version {quote(version)}; this service has {found}."
        raise Refusal(404, "unknown_model", message)

    def fault(self) -> str | None:
        """Return why the service is not ready, None if it is."""
        return next((model.fault for model in self.all() if model.fault), None)

    def index(self) -> list[dict[str, str]]:
        """Return a row for each version of each model, as in the protocol's index."""
        loaded = [
            _row(model.manifest.name, model.manifest.version, "UNAVAILABLE" if model.fault else "READY", model.fault)
            for model in self.all()
        ]
        gone = [
            _row(name, version, "UNAVAILABLE", UNLOADED) for name in self.unloaded for version in self.unloaded[name]
        ]
        return loaded + gone


def card_of(bundle: Bundle) -> dict[str, Any]:
    """Return the card of a bundle: its manifest without file names, its evaluation and its numbers of examples.

    Raises:
        UserError: the bundle carries an evaluation that cannot be used.
    """
    manifest = bundle.manifest
    unneeded = {"schema_version": True, "files": True, "class_map": {"reference_indices"}}
    evaluation = read_evaluation(bundle)
    return {
        **manifest.model_dump(mode="json", exclude=unneeded),  # type: ignore[arg-type]
        "evaluation": evaluation and evaluation.model_dump(mode="json"),
        "reads_digits": reads_digits(manifest),
        "examples": manifest.examples(),
    }


def read_examples(bundle: Bundle) -> dict[str, bytes]:
    """Return the content of each example image of a bundle, by its name in the bundle.

    Raises:
        UserError: they are too large to stay in memory.
    """
    counts = enumerate(bundle.manifest.examples())
    names = [example_file(subtype, number) for subtype, count in counts for number in range(count)]
    if sum(bundle.path(name).stat().st_size for name in names) > MAX_EXAMPLE_BYTES:
        limit = f"over {MAX_EXAMPLE_BYTES >> 20} MiB"
        raise UserError(f"The examples of {bundle.folder} are {limit}; export it again with --no-examples.")
    return {name: bundle.path(name).read_bytes() for name in names}


def reads_digits(manifest: Manifest) -> bool:
    """Return whether the model reads MNIST's digits, in which case the page offers some."""
    name, _, _ = manifest.class_map.data.partition(":")
    return name == DIGITS and manifest.input.preparation == "mnist"


def unknown_model(name: str, names: Iterable[str]) -> Refusal:
    """Return the refusal of a model that the service does not have."""
    message = f"There is no model {quote(name)}; this service has {_listed(names)}."
    return Refusal(404, "unknown_model", message)


def _row(name: str, version: str, state: str, reason: str | None) -> dict[str, str]:
    return {"name": name, "version": version, "state": state, "reason": reason or ""}


def _listed(names: Iterable[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    more = ", ..." if len(quoted) > MAX_LISTED_NAMES else ""
    return ", ".join(quoted[:MAX_LISTED_NAMES]) + more if quoted else "none"
