"""``clustnet clean``: remove from a run's folder what the run no longer needs."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clustnet.files import check_writable, shown

if TYPE_CHECKING:
    from training.runs.keeping import Waste


def main(arguments: Sequence[str]) -> None:
    """Remove what runs do not need, or say what that would free.

    Raises:
        UserError: a folder is not a run, a checkpoint is damaged, or the folder cannot be written.
    """
    options = _parser().parse_args(arguments)
    # Imported here, so that --help does not load torch.
    from training.grow.run import grown_waste, is_grown
    from training.runs.keeping import clean, waste

    for run in options.runs:
        found = list(grown_waste(run) if is_grown(run) else waste(run))
        if found and not options.dry_run:
            check_writable(run, "RUN")
            clean(found)
        print(describe(run, found, options.dry_run))


def describe(run: Path, found: "Sequence[Waste]", dry: bool) -> str:
    """Return lines that say what was removed from a run, or would be.

    Args:
        run: the run's folder.
        found: what the run does not need.
        dry: whether it was left in place.
    """
    if not found:
        return f"{shown(run)}: there is nothing to remove"
    verb = "would free" if dry else "freed"
    lines = [f"{shown(run)}: {verb} {size_text(sum(one.size for one in found))}"]
    for what in dict.fromkeys(one.what for one in found):
        own = [one.size for one in found if one.what == what]
        lines.append(f"  {what}: {len(own):,} {'file' if len(own) == 1 else 'files'}, {size_text(sum(own))}")
    return "\n".join(lines)


def size_text(size: int) -> str:
    """Return a number of bytes in words, as in ``12.3 MB``."""
    value, units = float(size), ["bytes", "kB", "MB", "GB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet clean",
        description="Remove what a run does not need: checkpoints that are neither the last nor the best nor an n-th "
        "that its recipe keeps, the optimizers' states of all but the last, and the tables of images beside them.",
        epilog="The last checkpoint and the best stay, and so does all that --resume, export, review and report read.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder made by any command")
    parser.add_argument("--dry-run", action="store_true", help="show what would be removed, and remove nothing")
    return parser
