import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clustnet import cli
from clustnet.bundles.bundle import Bundle


def test_export_end_to_end(run: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "digits"
    assert cli.main(["export", str(run("shared")), "--out", str(out), "--version", "3"]) == cli.DONE
    scores = {score.name: score.value for score in Bundle(out).manifest.scores}
    first, parity, last = capsys.readouterr().out.splitlines()[-3:]
    assert first == f"{out}: digits version 3"
    assert parity.startswith("parity with torch within ")
    assert last == (
        f"coarse accuracy {scores['coarse_accuracy']:.4f}, class accuracy {scores['class_accuracy']:.4f} (test split)"
    )


def test_epoch_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["export", str(tmp_path), "--out", str(tmp_path / "bundle"), "--epoch", "first"])
    assert "'first' is not an epoch; give last, best or a number" in capsys.readouterr().err


def test_a_folder_without_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(tmp_path), "--out", str(tmp_path / "bundle")]) == cli.WRONG_INPUT
    assert capsys.readouterr().err.count("\n") == 1


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys, clustnet.cli\n"
        "try: clustnet.cli.main(['export', '--help'])\n"
        "finally: assert not {'torch', 'onnx', 'onnxruntime'} & sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
