"""What the handlers of a service share; each application has its own."""

from dataclasses import dataclass, field
from typing import Any

from anyio import CapacityLimiter
from starlette.requests import Request

from serving.api.feedback_store import FeedbackStore
from serving.gate import Gate
from serving.metrics.drift import Watch
from serving.models.catalogue import ServedModel
from serving.models.models import Models
from serving.settings import Settings


@dataclass
class State:
    """The state of an application.

    Args:
        settings: what the operator has set.
        gate: bounds the resources that requests take.
        watch: compares the traffic with the models' references.
        feedback: keeps feedback; None if none is taken.
        models: the models that are served.
        document: the OpenAPI document for the models that are served now.
        thread: limits computing to one thread, since more would only share the core.
    """

    settings: Settings
    gate: Gate
    watch: Watch
    feedback: FeedbackStore | None
    models: Models
    document: dict[str, Any] = field(default_factory=dict)
    thread: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))


def state_of(request: Request) -> State:
    """Return the state of the application that answers a request."""
    state: State = request.app.state.service
    return state


def asked_model(request: Request) -> ServedModel:
    """Return the model of ``?model=NAME&version=V``, by default the newest version of the default model.

    Raises:
        Refusal: 404, there is no such model or version.
    """
    # Parsing an empty query costs as much as the look-up.
    query = request.query_params if request.scope["query_string"] else {}
    return state_of(request).models.now.find(query.get("model") or None, query.get("version") or None)
