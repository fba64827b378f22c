import os
import subprocess
import sys
from pathlib import Path

import pytest

from clustnet.foreign import foreign


@pytest.mark.parametrize(
    "code", ["import clustnet.cli; clustnet.cli.main(['train', 'x'])", "import clustnet; clustnet.ClustNet"]
)
@pytest.mark.parametrize("made", ["training/__init__.py", "training.py"])
def test_package_of_another_project_is_named(code: str, made: str, tmp_path: Path) -> None:
    path = tmp_path / made
    path.parent.mkdir(exist_ok=True)
    path.touch()
    place = path.parent if path.name == "__init__.py" else path
    ours = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), ours])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stderr.strip().endswith(
        f"Python finds {place} instead of ClustNet's own package training; start from another folder, take that "
        "one off PYTHONPATH, or rename it."
    )


def test_own_and_absent_packages_are_not_foreign() -> None:
    assert foreign(ModuleNotFoundError(name="training.absent")) is None
    assert foreign(ModuleNotFoundError(name="torch")) is None
    assert foreign(ModuleNotFoundError("no name")) is None
