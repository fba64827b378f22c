import os
import subprocess
import sys

ASKED_BEFORE_AND_AFTER = """
import os
from bentoml._internal.utils.analytics.usage_stats import do_not_track
print(do_not_track())
import serving.bento
print(do_not_track(), os.environ["ORT_DISABLE_TELEMETRY"])
"""


def test_telemetry_is_off_without_any_setting() -> None:
    off = ("BENTOML_DO_NOT_TRACK", "ORT_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in off}
    python = [sys.executable, "-c", ASKED_BEFORE_AND_AFTER]
    finished = subprocess.run(python, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert finished.stdout.split() == ["False", "True", "1"]
