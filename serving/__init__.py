"""The serving room: a bundle becomes an HTTP service.

To import it makes uvicorn limit headers, and accept connections so that workers share them. It turns telemetry off:
onnxruntime is not loaded yet, and BentoML's command, which has cached the environment's answer, reads it again before
it reports anything. A worker's metrics take space on the disk before they use it, and go to the folder of its own
server: BentoML has one folder for all servers of a user, and each server empties it.
"""

import os
import warnings
from importlib.util import find_spec

from bentoml._internal.utils.analytics import usage_stats
from uvicorn.config import HTTP_PROTOCOLS, LOOP_FACTORIES

from serving.models.shared import FOLDER

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
usage_stats.do_not_track.cache_clear()
if FOLDER in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ[FOLDER]
# Only now, as prometheus_client looks for the folder when it is imported.
from serving.metrics.files import keep_space  # noqa: E402

keep_space()
# Pillow warns of each damaged entry of a camera's data; a small file has tens of thousands.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")
# BentoML leaves the choice to uvicorn.
HTTP_PROTOCOLS["auto"] = "serving.wire.http_protocol:BoundedProtocol"
if find_spec("uvloop"):
    LOOP_FACTORIES["auto"] = "serving.wire.accepting:loop_factory"
