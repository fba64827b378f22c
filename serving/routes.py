"""The paths of the service: each is declared here once, with its methods and what a request to it needs."""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

GET = ("GET", "HEAD")
POST = ("POST",)
# The label of every path that the service does not have, or that metrics do not distinguish.
OTHER = "other"
# How many paths' endpoints are remembered; finding one costs 1 % of a request of one image.
MAX_REMEMBERED_PATHS = 64

KeyScope = Literal["predict", "admin"]


@dataclass(frozen=True)
class Endpoint:
    """One path of the service.

    Args:
        path: the path, in which ``{name}`` stands for one segment.
        methods: the HTTP methods that the path takes.
        scope: the scope that an API key needs for it, None where no key is needed.
        metric: the label of its requests in the metrics.
        computes: whether its requests need more than a look-up and therefore wait for their turn.
        rpc: whether it is a method of gRPC, which HTTP/1 does not reach.
    """

    path: str
    methods: tuple[str, ...]
    scope: KeyScope | None = "predict"
    metric: str = OTHER
    computes: bool = False
    rpc: bool = False

    def parameters(self, path: str) -> dict[str, str]:
        """Return the path parameters of a path that matches this endpoint, none for another path."""
        found = self._expression.fullmatch(path)
        return found.groupdict() if found else {}

    def matches(self, path: str) -> bool:
        """Return whether a path matches this endpoint."""
        return self._expression.fullmatch(path) is not None

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        segments = re.split(r"\{(\w+)\}", self.path)
        # No segment holds a line feed, as Starlette's mounts match none.
        fixed, named = map(re.escape, segments[::2]), [f"(?P<{name}>[^/\n]+)" for name in segments[1::2]]
        return re.compile("".join(part for pair in zip(fixed, [*named, ""], strict=True) for part in pair))


PREDICT = Endpoint("/predict", POST, metric="/predict", computes=True)
PREDICT_IMAGE = Endpoint("/predict_image", POST, metric="/predict_image", computes=True)
FEEDBACK = Endpoint("/feedback", POST, metric="/feedback")

PAGE = Endpoint("/", GET, scope=None)
STATIC_FOLDER = "/static"
STATIC_FILE = Endpoint(f"{STATIC_FOLDER}/{{file}}", GET, scope=None)
MODEL_CARD = Endpoint("/model.json", GET)
EXAMPLE = Endpoint("/examples/{subtype}/{number}.jpg", GET)
METRICS = Endpoint("/metrics", GET, scope="admin")
DOCUMENT = Endpoint("/docs.json", GET, scope=None)

LIVE = Endpoint("/livez", GET, scope=None)
READY = Endpoint("/readyz", GET, scope=None)
HEALTH = Endpoint("/healthz", GET, scope=None)
# BentoML's clients read it.
BENTOML_SCHEMA = Endpoint("/schema.json", GET)

# The Open Inference Protocol.
PROTOCOL = "/v2"
INFER_METRIC = f"{PROTOCOL}/models/{{name}}/infer"
SERVER = Endpoint(PROTOCOL, GET)
SERVER_SLASH = Endpoint(f"{PROTOCOL}/", GET)
PROTOCOL_LIVE = Endpoint(f"{PROTOCOL}/health/live", GET, scope=None)
PROTOCOL_READY = Endpoint(f"{PROTOCOL}/health/ready", GET, scope=None)
MODEL = Endpoint(f"{PROTOCOL}/models/{{name}}", GET)
MODEL_VERSION = Endpoint(f"{PROTOCOL}/models/{{name}}/versions/{{version}}", GET)
MODEL_READY = Endpoint(f"{MODEL.path}/ready", GET)
MODEL_VERSION_READY = Endpoint(f"{MODEL_VERSION.path}/ready", GET)
STATISTICS = Endpoint(f"{PROTOCOL}/models/stats", GET)
MODEL_STATISTICS = Endpoint(f"{MODEL.path}/stats", GET)
MODEL_VERSION_STATISTICS = Endpoint(f"{MODEL_VERSION.path}/stats", GET)
MODEL_CONFIG = Endpoint(f"{MODEL.path}/config", GET)
MODEL_VERSION_CONFIG = Endpoint(f"{MODEL_VERSION.path}/config", GET)
INFER = Endpoint(f"{MODEL.path}/infer", POST, metric=INFER_METRIC, computes=True)
INFER_VERSION = Endpoint(f"{MODEL_VERSION.path}/infer", POST, metric=INFER_METRIC, computes=True)
INDEX = Endpoint(f"{PROTOCOL}/repository/index", POST, computes=True)
LOAD = Endpoint(f"{PROTOCOL}/repository/models/{{name}}/load", POST, scope="admin")
UNLOAD = Endpoint(f"{PROTOCOL}/repository/models/{{name}}/unload", POST, scope="admin")

# The same protocol over gRPC, whose methods have the paths of HTTP/2.
RPC_SERVICE = "inference.GRPCInferenceService"
RPC = f"/{RPC_SERVICE}"
RPC_LIVE = Endpoint(f"{RPC}/ServerLive", POST, scope=None, rpc=True)
RPC_READY = Endpoint(f"{RPC}/ServerReady", POST, scope=None, rpc=True)
RPC_SERVER = Endpoint(f"{RPC}/ServerMetadata", POST, rpc=True)
RPC_MODEL = Endpoint(f"{RPC}/ModelMetadata", POST, rpc=True)
RPC_MODEL_READY = Endpoint(f"{RPC}/ModelReady", POST, rpc=True)
RPC_STATISTICS = Endpoint(f"{RPC}/ModelStatistics", POST, rpc=True)
RPC_CONFIG = Endpoint(f"{RPC}/ModelConfig", POST, rpc=True)
RPC_INFER = Endpoint(f"{RPC}/ModelInfer", POST, metric=f"{RPC}/ModelInfer", computes=True, rpc=True)
RPC_INDEX = Endpoint(f"{RPC}/RepositoryIndex", POST, rpc=True)
RPC_LOAD = Endpoint(f"{RPC}/RepositoryModelLoad", POST, scope="admin", rpc=True)
RPC_UNLOAD = Endpoint(f"{RPC}/RepositoryModelUnload", POST, scope="admin", rpc=True)

_DECLARED = tuple(value for value in dict(globals()).values() if isinstance(value, Endpoint))
ENDPOINTS = tuple(endpoint for endpoint in _DECLARED if not endpoint.rpc)
RPCS = tuple(endpoint for endpoint in _DECLARED if endpoint.rpc)
_BY_PATH = {endpoint.path: endpoint for endpoint in _DECLARED}
_WITH_PARAMETERS = [endpoint for endpoint in ENDPOINTS if "{" in endpoint.path]


@lru_cache(MAX_REMEMBERED_PATHS)
def endpoint_of(path: str) -> Endpoint | None:
    """Return the endpoint of a request's path, None where the service has no such path."""
    if path in _BY_PATH:
        return _BY_PATH[path]
    return next((endpoint for endpoint in _WITH_PARAMETERS if endpoint.matches(path)), None)


def route_of(path: str) -> str:
    """Return the declared path that a request's path matches, ``other`` if none; logs and traces show it."""
    endpoint = endpoint_of(path)
    return endpoint.path if endpoint else OTHER


def metric_of(path: str) -> str:
    """Return the label of a request's path in the metrics, ``other`` for all that are not counted separately."""
    endpoint = endpoint_of(path)
    return endpoint.metric if endpoint else OTHER
