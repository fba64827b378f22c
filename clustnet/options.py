"""Options that several commands share."""

import argparse

from clustnet.errors import UserError

LOCAL, RAY = "local", "ray"


def at_least_one(text: str) -> int:
    """Return a whole number of at least 1; meant as a ``type`` for argparse.

    Raises:
        argparse.ArgumentTypeError: the text is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def add_engine(parser: argparse.ArgumentParser, work: str) -> None:
    """Add ``--engine`` and ``--workers``.

    Args:
        parser: the command's parser.
        work: what the engine does, as in ``scores files``.
    """
    parser.add_argument(
        "--engine",
        choices=(LOCAL, RAY),
        default=LOCAL,
        help=f"what {work}: this process (local, the default), or Ray on all cores or on the cluster at RAY_ADDRESS",
    )
    parser.add_argument(
        "--workers",
        type=at_least_one,
        metavar="N",
        help="with --engine ray: the number of processes (default: one per CPU that Ray has)",
    )


def check_workers(options: argparse.Namespace) -> None:
    """Raise a ``UserError`` if ``--workers`` is given for an engine without workers."""
    if options.workers is not None and options.engine != RAY:
        raise UserError("--workers goes with --engine ray; the local engine is one process.")
