"""The wheel holds every file of the packages, what they read at run time, and an encoder."""

import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("clustnet", "training", "onnx_export", "review", "estimators", "serving", "evaluation")


def test_wheel_holds_what_is_needed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {path for package in PACKAGES for path in (REPOSITORY / package).rglob("*") if path.is_file()}
    own = {path.relative_to(REPOSITORY).as_posix() for path in files if "__pycache__" not in path.parts}
    encoders = {
        f"clustnet/encoders/models/{path.relative_to(REPOSITORY / 'models/encoders').as_posix()}"
        for path in (REPOSITORY / "models" / "encoders").rglob("*")
        if path.is_file()
    }
    assert found == own | encoders
    needed = {
        "clustnet/py.typed",
        "serving/static/index.html",
        "review/static/page.js",
        "clustnet/encoders/models/lite0/encoder.onnx",
    }
    assert needed <= found
