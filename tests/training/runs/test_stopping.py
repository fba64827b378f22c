"""Runs that are stopped in whatever stage: by a person, by a full disk, by a limit on files."""

import errno
import os
import pty
import resource
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from clustnet import cli
from tests.training.tiny import same_state, tiny_recipe, tiny_words
from training.runs.loop import train
from training.runs.run_folder import RunFolder

KEYS = {"vis": 9}
STAGES = {
    "making the method": "training.methods.clustnet.method.build_network",
    "drawing the first epoch": "training.pictures.gallery.flattened",
    "training": "training.methods.clustnet.method.check_finite",
    "label-free figures": "training.runs.loop.label_free",
    "scoring": "training.runs.loop.routing_scores",
    "writing scores": "training.runs.run_folder.RunFolder.write_scores",
    "writing checkpoint": "training.runs.run_folder.RunFolder.save_checkpoint",
    "removing checkpoints": "training.runs.loop.keep",
    "drawing the last epoch": "training.pictures.gallery.draw_evolution",
}
WRITING = ("writing scores", "writing checkpoint", "drawing the last epoch")
FULL = OSError(errno.ENOSPC, "No space left on device")
CONFIG = "configs/mnist_soft.yaml"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The last checkpoint of a run that was not stopped."""
    path = tmp_path_factory.mktemp("stopping") / "whole"
    train(tiny_recipe(KEYS), path)
    return RunFolder(path).load_checkpoint(2)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("stage", "error"),
    [*((stage, KeyboardInterrupt()) for stage in STAGES), *((stage, FULL) for stage in WRITING)],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_run_goes_on_after_any_stage(
    stage: str, error: BaseException, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(STAGES[stage], stop)
    with pytest.raises(type(error)) as caught:
        train(tiny_recipe(KEYS), tmp_path / "run")
    assert isinstance(error, OSError) or str(caught.value).endswith(f"safe in {tmp_path / 'run'}")
    monkeypatch.undo()
    train(tiny_recipe(KEYS), tmp_path / "run", resume=True)
    assert same_state(RunFolder(tmp_path / "run").load_checkpoint(2), whole)
    assert (tmp_path / "run" / "vis" / "index.html").is_file()


def test_partition_that_is_stopped_says_what_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.methods.clustnet.partition.candidates", stop)
    with pytest.raises(KeyboardInterrupt, match=r"^0 of 3 epochs are safe in "):
        train(tiny_recipe({"partition.epochs": 1, "partition.images": 60}), tmp_path / "run")


@pytest.mark.heavy
def test_limit_on_files_is_one_sentence(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["train", CONFIG, *tiny_words({"data.train_images": 100}), "--out", str(out)]
    limit = 20_000
    done = subprocess.run(
        [sys.executable, "-m", "clustnet", *words],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == cli.FAILED
    told = [line for line in done.stderr.splitlines() if not line.startswith("warning: expert")]
    assert told == [
        "clustnet: A file would be larger than this account may write; raise the limit, for example "
        "with 'ulimit -f unlimited'. "
        "What was finished before is intact."
    ]
    assert not [path for path in out.rglob(".*") if path.is_file()]
    assert cli.main([*words, "--resume"]) == cli.DONE
    assert RunFolder(out).last_epoch() == 2


@pytest.mark.heavy
def test_bars_are_for_terminals_alone() -> None:
    show = "from training.engine.progress import progress, steps\n"
    show += "for _ in progress(range(3), 3, 'epoch 2/7', 'batch'): pass\n"
    show += "with steps(4, 'partition') as bar: [bar.update() for _ in range(4)]"
    command = [sys.executable, "-c", show]
    assert subprocess.run(command, capture_output=True, check=True).stderr == b""
    terminal, end = pty.openpty()
    # Without a size there is no room for a bar.
    termios.tcsetwinsize(end, (24, 80))
    with subprocess.Popen(command, stderr=end) as process:
        os.close(end)
        shown = b""
        while True:
            try:
                part = os.read(terminal, 4_096)
            except OSError:
                # Linux says so where a terminal's other end is closed.
                break
            if not part:
                break
            shown += part
        assert process.wait(timeout=60) == 0
    os.close(terminal)
    assert b"epoch 2/7" in shown
    assert b"partition" in shown
    assert b"00:00<" in shown
