from pathlib import Path

import pytest

from clustnet import cli
from tests.training.deep import deep_recipe
from training.runs.loop import train


def test_report_is_one_table_and_two_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(deep_recipe(), tmp_path / "run")
    capsys.readouterr()
    out = tmp_path / "report"
    assert cli.main(["report", str(tmp_path / "run"), "--out", str(out)]) == cli.DONE
    shown = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in shown.splitlines()[2:5]] == [
        "| Image pixels",
        "| Autoencoder",
        "| Autoencoder + KL divergence",
    ]
    assert sorted(path.name for path in out.iterdir()) == ["clustering.csv", "reconstructions.png", "spaces.png"]


def test_folder_that_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path), "--out", str(tmp_path / "report")]) == cli.WRONG_INPUT
    assert capsys.readouterr().err.startswith(f"clustnet: {tmp_path} is not a run")
