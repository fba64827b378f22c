import errno
import re
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from clustnet import __version__, cli
from clustnet.errors import UserError


def run_command(monkeypatch: pytest.MonkeyPatch, work: Callable[[list[str]], None]) -> int:
    """Run ``clustnet train`` with ``work`` in the place of training."""
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: SimpleNamespace(main=work))
    return cli.main(["train", "recipe.yaml"])


def fails_with(error: BaseException) -> Callable[[list[str]], None]:
    def work(arguments: list[str]) -> None:
        raise error

    return work


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == cli.DONE
    text = capsys.readouterr().out
    assert all(command in text for command in cli.COMMANDS)
    assert cli.main(["--version"]) == cli.DONE
    assert capsys.readouterr().out == f"clustnet {__version__}\n"


def test_no_command_shows_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == cli.WRONG_INPUT
    assert capsys.readouterr().out.startswith("usage: clustnet COMMAND")


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fly"]) == cli.WRONG_INPUT
    known = ", ".join(cli.COMMANDS)
    assert capsys.readouterr().err == f"clustnet: There is no command 'fly'; choose one of {known}.\n"


def test_a_command_gets_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    assert run_command(monkeypatch, seen.extend) == cli.DONE
    assert seen == ["recipe.yaml"]


def test_wrong_input_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(monkeypatch, fails_with(UserError("The file is missing."))) == cli.WRONG_INPUT
    assert capsys.readouterr().err == "clustnet: The file is missing.\n"


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert run_command(monkeypatch, fails_with(full)) == cli.FAILED
    assert capsys.readouterr().err == "clustnet: The disk is full; make room. What was finished before is intact.\n"
    # A fault of ours keeps its traceback.
    with pytest.raises(PermissionError):
        run_command(monkeypatch, fails_with(PermissionError(errno.EACCES, "Permission denied")))


@pytest.mark.parametrize(
    "words",
    [["export", "no-run"], ["encoder", "timm:resnet18"], ["discover", "."]],
)
def test_a_place_that_takes_no_file_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*words, "--out", "/proc/none/made"]) == cli.WRONG_INPUT
    assert re.match(r"clustnet: /proc/none\S* cannot be written, as /proc cannot \(", capsys.readouterr().err)


def test_a_missing_dependency_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ModuleNotFoundError("No module named 'torch'", name="torch")
    assert run_command(monkeypatch, fails_with(error)) == cli.WRONG_INPUT
    told = capsys.readouterr().err
    assert told.startswith("clustnet: 'clustnet train' needs torch; run 'make setup' in the repository, or ")
    assert told.endswith("pip install '.[training]'\n")


def test_an_interrupt_fails_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, fails_with(KeyboardInterrupt("Resume with --resume."))) == cli.FAILED
    assert capsys.readouterr().err == "\nclustnet: stopped. Resume with --resume.\n"


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(monkeypatch, fails_with(ZeroDivisionError()))


def test_the_module_runs_and_help_loads_nothing_heavy() -> None:
    heavy = "import sys, clustnet.cli; clustnet.cli.main(['--help']); print(sorted(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{name}'" in shown for name in ("numpy", "torch", "onnxruntime", "matplotlib"))
    done = subprocess.run([sys.executable, "-m", "clustnet", "fly"], capture_output=True, text=True)
    assert done.returncode == cli.WRONG_INPUT
    assert done.stderr.count("\n") == 1


WORDS_THAT_PRINT = [["--help"], ["--version"], [], ["train", "--help"], ["train"]]


@pytest.mark.parametrize("words", WORDS_THAT_PRINT, ids=" ".join)
def test_a_closed_pipe_gives_no_traceback(words: list[str]) -> None:
    speak = "import sys; from clustnet import cli; from types import SimpleNamespace as S; sys.stdin.read(); "
    if words == ["train"]:
        speak += "cli.importlib.import_module = lambda _: S(main=lambda _: print('x' * 10)); "
    speak += f"sys.exit(cli.main({words}))"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", speak], **pipes) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        # argparse ends its help well, too, where it had to write in several pieces.
        assert process.wait(timeout=60) == cli.FAILED or words == ["train", "--help"]


def test_names_of_any_bytes_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def work(arguments: list[str]) -> None:
        print("caf\udce9.png")
        raise UserError("The file caf\udce9.png is missing.")

    assert run_command(monkeypatch, work) == cli.WRONG_INPUT
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("caf\\udce9.png\n", "clustnet: The file caf\\xe9.png is missing.\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.EFBIG, "File too large"), "A file would be larger than this account may write; raise the limit"),
        (OSError(errno.EROFS, "Read-only", "/a/b.pt"), "/a/b.pt is on a read-only disk; make it writable."),
        (
            PermissionError(errno.EACCES, "No", "/a/b.pt"),
            "This account may not access /a/b.pt; change its permissions.",
        ),
    ],
)
def test_places_that_take_no_file_are_named(
    error: OSError, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, fails_with(error)) == cli.FAILED
    told = capsys.readouterr().err
    assert told.startswith(f"clustnet: {sentence}")
    assert told.endswith(" What was finished before is intact.\n")
