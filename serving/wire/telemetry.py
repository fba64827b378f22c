"""BentoML's reports to its makers, which this service does not send.

When BentoML's command loads the service, it has already read ``BENTOML_DO_NOT_TRACK`` and remembers its value. There is
no public way to have it read again, so this module, and no other, imports a private one.
"""

import os

from bentoml._internal.utils.analytics import usage_stats


def stop_reports() -> None:
    """Have BentoML and onnxruntime report nothing, unless the environment says otherwise."""
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    usage_stats.do_not_track.cache_clear()
