import shutil
from pathlib import Path

import pytest

from clustnet.cli import DONE, WRONG_INPUT, main
from tests.training.grow.made import recipe_of
from training.commands.clean import size_text
from training.grow.run import GrowRun, step_name
from training.runs.run_folder import RunFolder


@pytest.fixture
def untidy(finished_run: Path, tmp_path: Path) -> Path:
    """A run whose first checkpoint was not removed."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    shutil.copyfile(RunFolder(run).checkpoint(2), RunFolder(run).checkpoint(1))
    return run


def test_dry_run_says_what_cleaning_frees(untidy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", str(untidy), "--dry-run"]) == DONE
    planned = capsys.readouterr().out
    assert RunFolder(untidy).epochs() == [1, 2]
    assert main(["clean", str(untidy)]) == DONE
    done = capsys.readouterr().out
    assert planned.startswith(f"{untidy}: would free ")
    assert done == planned.replace("would free", "freed")
    assert main(["clean", str(untidy)]) == DONE
    assert capsys.readouterr().out == f"{untidy}: there is nothing to remove\n"


def test_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", str(tmp_path)]) == WRONG_INPUT
    assert "is not a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1_500, "1.5 kB"), (2_000_000_000_000, "2000.0 GB")]
)
def test_sizes_are_told_in_words(size: int, text: str) -> None:
    assert size_text(size) == text


def test_run_of_grow_keeps_its_last_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = GrowRun(tmp_path)
    run.begin(recipe_of())
    for step in range(3):
        run.save(step_name(step), {"step": step})
    assert main(["clean", str(tmp_path)]) == DONE
    assert "checkpoints of earlier steps: 2 files" in capsys.readouterr().out
    assert run.finished() == {"step": 2}
