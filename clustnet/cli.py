"""The ``clustnet`` command: finds the package that does the work and turns failures into exit codes."""

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence

from clustnet import __version__
from clustnet.errors import UserError
from clustnet.files import shown
from clustnet.foreign import foreign

DONE, FAILED, WRONG_INPUT = 0, 1, 2
# Errors that stop long work and are not the fault of the program.
UNWRITABLE = {
    errno.ENOSPC: "The disk is full; make room.",
    errno.EDQUOT: "The disk is full; make room.",
    errno.EFBIG: "A file would be larger than this account may write; raise the limit, for example with "
    "'ulimit -f unlimited'.",
    errno.EROFS: "{} is on a read-only disk; make it writable.",
    errno.EACCES: "This account may not access {}; change its permissions.",
}

# By name, not by import, because this package imports no other and 'clustnet --help' must not load torch.
COMMANDS = {
    "discover": ("training.commands.discover", "find the subtypes in your own images, in one command"),
    "review": ("review.command", "view, name and correct the subtypes of a run"),
    "grow": ("training.commands.grow", "learn a hierarchy of labels, one node at a time"),
    "train": ("training.commands.train", "train a recipe: images with coarse labels -> run"),
    "export": ("onnx_export.command", "turn a run into a bundle of ONNX graphs"),
    "predict": ("evaluation.commands.predict", "predict image files with a bundle"),
    "evaluate": ("evaluation.commands.evaluate", "score a bundle or a running service"),
    "encoder": ("onnx_export.encoder_command", "make an encoder from a timm model or a run"),
    "probe": ("training.commands.probe", "measure what a linear classifier reads from each layer of a run"),
    "visualize": ("training.commands.visualize", "draw what the filters and clusters of a run see"),
    "report": ("training.commands.report", "draw and score what runs have learnt"),
    "clean": ("training.commands.clean", "remove files that a run no longer needs"),
    "sweep": ("training.commands.sweep", "train one recipe with several seeds or values"),
    "pack": ("clustnet.packing.command", "sign a bundle, and pack it as an image for a cluster"),
    "key": ("serving.keys.command", "make an API key for the service"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 2 wrong usage or input, 1 anything else."""
    try:
        try:
            return _start(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            # Flush while a failure can still be caught, also after argparse's help, which ends with SystemExit.
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has gone, as with 'head'. Without this, Python would complain again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _start(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return DONE if words else WRONG_INPUT
    if words[0] == "--version":
        print(f"clustnet {__version__}")
        return DONE
    if words[0] not in COMMANDS:
        return _fail(f"There is no command {words[0]!r}; choose one of {', '.join(COMMANDS)}.")
    return _run(words[0], words[1:])


def _run(command: str, arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # A terminal without UTF-8 shows characters that it lacks as escapes.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        importlib.import_module(COMMANDS[command][0]).main(arguments)
        # Flush while the error of a full disk can still be caught.
        sys.stdout.flush()
    except UserError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        return _fail(foreign(error) or _not_installed(command, error))
    except KeyboardInterrupt as interruption:
        if _is_first("RANK"):
            print(f"\nclustnet: stopped. {interruption}".rstrip(), file=sys.stderr)
        return FAILED
    except OSError as error:
        reason = _unwritable(error)
        if reason is None:
            raise
        return _fail(f"{reason} What was finished before is intact.", FAILED)
    return DONE


def _not_installed(command: str, error: ModuleNotFoundError) -> str:
    room = COMMANDS[command][0].partition(".")[0].removeprefix("onnx_")
    how = f"run 'make setup' in the repository, or install the package there with: pip install '.[{room}]'"
    return f"'clustnet {command}' needs {error.name}; {how}"


def _unwritable(error: OSError) -> str | None:
    """Return a sentence that says why long work cannot go on, or None if the program is at fault."""
    sentence = UNWRITABLE.get(error.errno or 0)
    if sentence is None or ("{}" in sentence and not error.filename):
        return None
    return sentence.format(error.filename)


def _fail(message: str, code: int = WRONG_INPUT) -> int:
    # The first process of each machine reports, because the fault may exist on one machine alone.
    if _is_first("LOCAL_RANK"):
        print(f"clustnet: {shown(message)}", file=sys.stderr)
    return code


def _is_first(variable: str) -> bool:
    """Return whether this is the first of the processes that torchrun or accelerate numbers by a variable."""
    return os.environ.get(variable, "0") == "0"


def _usage() -> str:
    listing = "\n".join(f"  {name:<11}{text}" for name, (_, text) in COMMANDS.items())
    return f"usage: clustnet COMMAND [ARGUMENTS]\n\n{listing}\n\n'clustnet COMMAND --help' describes a command."
