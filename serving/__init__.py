"""The serving room: a bundle becomes an HTTP service.

Telemetry is off here because this is imported before BentoML counts a start and before onnxruntime loads.
"""

import os

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
