"""The serving room: a bundle becomes an HTTP service.

Importing it has uvicorn read HTTP with a limit to headers, and accept connections so that workers share
them. It turns telemetry off: onnxruntime is not loaded yet, and BentoML's command, which has asked the
environment already and remembers the answer, is made to ask again before it reports anything. A worker's
metrics go to the folder of its own server: BentoML's is one for all servers of a user, and each empties it.
"""

import os
from importlib.util import find_spec

from bentoml._internal.utils.analytics import usage_stats
from uvicorn.config import HTTP_PROTOCOLS, LOOP_FACTORIES

from serving.models.shared import FOLDER

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
usage_stats.do_not_track.cache_clear()
if FOLDER in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ[FOLDER]
# BentoML starts uvicorn without a choice of its own.
HTTP_PROTOCOLS["auto"] = "serving.wire.http_protocol:BoundedProtocol"
if find_spec("uvloop"):
    LOOP_FACTORIES["auto"] = "serving.wire.accepting:loop_factory"
