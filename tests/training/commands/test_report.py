from pathlib import Path

import pytest

from clustnet import cli
from tests.training.deep import deep_recipe
from tests.training.grow.made import recipe_of
from training.grow.run import GrowRun
from training.runs.loop import train


def test_report_is_pictures_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(deep_recipe(), tmp_path / "run")
    capsys.readouterr()
    out = tmp_path / "report"
    assert cli.main(["report", str(tmp_path / "run"), "--out", str(out)]) == cli.DONE
    shown = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in shown.splitlines()[3:6]] == [
        "| Image pixels",
        "| Autoencoder",
        "| Autoencoder + KL divergence",
    ]
    assert {"clustering.csv", "reconstructions.png", "spaces.png", "index.html"} <= {
        path.name for path in out.iterdir()
    }


def test_several_runs_come_into_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        train(deep_recipe(seed=seed), tmp_path / str(seed))
    runs = [str(tmp_path / str(seed)) for seed in (0, 1)]
    capsys.readouterr()
    assert cli.main(["report", *runs]) == cli.WRONG_INPUT
    assert "needs a folder of its own; name one with --out" in capsys.readouterr().err
    assert cli.main(["report", *runs, "--out", str(tmp_path / "report")]) == cli.DONE
    assert "| 2 |" in capsys.readouterr().out
    found = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert found == ["clustering.csv", "reconstructions.png", "spaces.png"]


def test_run_of_another_method_has_a_report(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(finished_run), "--out", str(tmp_path / "report")]) == cli.DONE
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("tiny, epoch 2, test split: coarse accuracy 0.")
    assert last == f"pictures: {tmp_path / 'report' / 'index.html'}"


def test_pretrained_run_has_pictures_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(deep_recipe(), tmp_path / "run", last=2)
    assert cli.main(["report", str(tmp_path / "run")]) == cli.DONE
    assert "The table of clustering spaces is left out." in capsys.readouterr().out
    assert (tmp_path / "run" / "vis" / "index.html").is_file()


def test_folder_that_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(tmp_path), "--out", str(tmp_path / "report")]) == cli.WRONG_INPUT
    assert capsys.readouterr().err.startswith(f"clustnet: {tmp_path} is not a run")


def test_run_of_grow_names_its_own_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    GrowRun(tmp_path).begin(recipe_of())
    assert cli.main(["report", str(tmp_path)]) == cli.WRONG_INPUT
    told = (
        f"clustnet: {tmp_path} is a run of 'clustnet grow', which writes its own report there: matrix.png, curves.png"
    )
    assert capsys.readouterr().err == f"{told} and summary.csv.\n"
