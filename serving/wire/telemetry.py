"""BentoML's reports to its makers, which this service does not send.

BentoML's command has read ``BENTOML_DO_NOT_TRACK`` and remembers the answer when it loads the service, and there is no
public way to have it read again; so this module alone imports a private one.
"""

import os

from bentoml._internal.utils.analytics import usage_stats


def stop_reports() -> None:
    """Have BentoML and onnxruntime report nothing, unless the environment says otherwise."""
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    usage_stats.do_not_track.cache_clear()
