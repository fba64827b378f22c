"""Options that several commands share."""

import argparse

from clustnet.errors import UserError

LOCAL, RAY = "local", "ray"


def at_least_one(text: str) -> int:
    """Return a whole number of at least 1, as a type of argparse.

    Raises:
        argparse.ArgumentTypeError: it is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def add_engine(parser: argparse.ArgumentParser, work: str) -> None:
    """Add ``--engine`` and ``--workers``.

    Args:
        parser: parser of the command.
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
    """Raise a ``UserError`` where ``--workers`` is given to an engine that has none."""
    if options.workers is not None and options.engine != RAY:
        raise UserError("--workers goes with --engine ray; the local engine is one process.")
