"""What ``make`` says while it sets an environment up."""

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# In the place of uv: makes the environment, with a bentoml that only shows its arguments.
UV = """#!/bin/sh
test "$1" = venv || exit 0
for folder; do :; done
mkdir -p "$folder/bin"
printf '#!/bin/sh\\necho bentoml "$@"\\n' > "$folder/bin/bentoml"
chmod +x "$folder/bin/bentoml"
"""


def make_serve(folder: Path, *variables: str) -> str:
    uv = folder / "uv"
    if not uv.exists():
        uv.write_text(UV)
        uv.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "serve", f"UV={uv}", f"SERVING={folder}/environment", *variables]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_the_first_serve_says_what_it_installs(tmp_path: Path) -> None:
    shown = make_serve(tmp_path, "RUNTIME=cpu", "PORT=3999")
    assert shown.index("what serving needs, 240 MB") < shown.index("bentoml serve --host 127.0.0.1 --port 3999")
    assert "240 MB" not in make_serve(tmp_path, "RUNTIME=cpu")


def test_the_size_is_that_of_the_runtime(tmp_path: Path) -> None:
    assert "2.8 GB" in make_serve(tmp_path, "RUNTIME=gpu")
