import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clustnet import cli
from tests.training.deep import deep_recipe
from tests.training.tiny import tiny_recipe, tiny_words
from training.runs.run_folder import RunFolder

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SOFT = str(CONFIGS / "mnist_soft.yaml")
HEAVY = ("torch", "onnxruntime", "torchvision", "accelerate", "tensorboard", "matplotlib", "sklearn", "scipy")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--help"],
        ["train", SOFT, "--print_config"],
        ["train", SOFT, "--print_config", "--seed", "4", "--loss.routing_entropy=0.5"],
        ["sweep", "--help"],
        ["report", "--help"],
    ],
)
def test_help_and_print_config_load_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys, clustnet.cli\n"
        "try: clustnet.cli.main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code\n"
        f"sys.exit(str([name for name in {HEAVY} if name in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.stderr.strip() == ""
    assert done.stdout


def test_print_config_shows_recipe_as_resolved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [SOFT, "--print_config", "--seed", "4", "--optimisation.epochs", "3", *tiny_words()[:1]]
    assert cli.main(["train", *words]) == cli.DONE
    shown = tmp_path / "shown.yaml"
    shown.write_text(capsys.readouterr().out)
    assert cli.main(["train", str(shown), "--print_config"]) == cli.DONE
    assert capsys.readouterr().out == shown.read_text()
    assert "seed: 4\n" in shown.read_text()
    assert "epochs: 3" in shown.read_text()


def test_default_folder_is_named_by_recipe_and_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", SOFT, *tiny_words(), "--optimisation.epochs", "1", "--seed", "3"]) == cli.DONE
    assert RunFolder(tmp_path / "runs" / "mnist_soft_seed3").last_epoch() == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["absent.yaml"], "The recipe absent.yaml cannot be read"),
        ([SOFT, "--optimisation.epoch", "3"], "did you mean 'optimisation.epochs'?"),
        ([SOFT, "--seed", "-1"], "seed is -1, but should be greater than or equal to 0."),
        ([SOFT, "--out", "{run}"], "already holds a run; add --resume to continue, or choose another --out."),
        ([SOFT, "--out", "{run}", "--resume"], "was started with another recipe: "),
        ([SOFT, "--out", "{run}2", "--resume"], "holds no run to resume; leave out --resume to start one."),
        (
            [SOFT, "--data.path", "absent"],
            "data.path is absent, but there is no such file or folder in the working dir",
        ),
        ([SOFT, "--data.path", str(CONFIGS)], "configs/train-images-idx3-ubyte.gz is missing"),
        ([SOFT, "--out", "/proc/none/run"], "/proc/none/run cannot be written, as /proc cannot ("),
    ],
)
def test_wrong_input_is_one_line_and_code_two(
    finished_run: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert cli.main(["train", *(word.format(run=finished_run) for word in words)]) == cli.WRONG_INPUT
    message = capsys.readouterr().err
    assert message.startswith("clustnet: ")
    assert message.count("\n") == 1
    assert sentence in message


def test_resume_finishes_after_ctrl_c(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [SOFT, "--out", str(run), *tiny_words(), "--optimisation.epochs", "8"]
    with subprocess.Popen(
        [sys.executable, "-m", "clustnet", "train", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("epoch  1/8")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    stopped = RunFolder(run).last_epoch()
    assert process.returncode == cli.FAILED
    assert "Traceback" not in errors
    assert 1 <= stopped < 8
    told = (
        f"clustnet: stopped. {stopped} of 8 epochs are safe in {run}; to continue, run the same command with --resume."
    )
    assert told in errors
    assert cli.main(["train", *words, "--resume"]) == cli.DONE
    assert RunFolder(run).last_epoch() == 8


def test_ctrl_c_while_loading_promises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.runs.loop.load_split", interrupt)
    assert cli.main(["train", SOFT, "--out", str(tmp_path / "run")]) == cli.FAILED
    assert capsys.readouterr().err == "\nclustnet: stopped.\n"
    assert not (tmp_path / "run").exists()


def test_tiny_words_are_tiny_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.yaml").write_text("{}")
    cli.main(["train", str(tmp_path / "empty.yaml"), "--print_config", *tiny_words()])
    assert capsys.readouterr().out == tiny_recipe().to_yaml()


def test_stages_follow_each_other_on_command_line(tmp_path: Path) -> None:
    path, out = tmp_path / "deep.yaml", tmp_path / "run"
    path.write_text(deep_recipe().to_yaml())
    cli.main(["train", str(path), "--out", str(out), "--stage", "pretrain"])
    assert RunFolder(out).last_epoch() == 2
    cli.main(["train", str(path), "--out", str(out), "--stage", "cluster"])
    assert RunFolder(out).last_epoch() == 4
    cli.main(
        ["train", str(path), "--out", str(tmp_path / "other"), "--pretrained", str(out), "--clustering.loss", "kmeans"]
    )
    assert RunFolder(tmp_path / "other").last_epoch() == 4
