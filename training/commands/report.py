"""``clustnet report``: what runs of any method have learnt, in pictures and scores."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clustnet.errors import UserError
from clustnet.files import check_writable, shown

# The page that 'clustnet discover' writes into the run's folder.
DISCOVERED = "report.html"


def main(arguments: Sequence[str]) -> None:
    """Draw and score runs.

    Raises:
        UserError: a folder is not a run, nothing in it is finished, or the runs do not fit into one table.
    """
    options = _parser().parse_args(arguments)
    # Imported here, so that --help does not load torch.
    from training.grow.run import is_grown
    from training.reports.clustering_report import is_staged

    for run in options.runs:
        if is_grown(run):
            raise UserError(
                f"{shown(run)} is a run of 'clustnet grow', which writes its own report there: matrix.png, curves.png "
                "and summary.csv."
            )
    if len(options.runs) > 1 and all(map(is_staged, options.runs)):
        if options.out is None:
            raise UserError("The table of several runs needs a folder of its own; name one with --out.")
        _compare(options.runs, options.out)
        return
    for run in options.runs:
        _report(run, options.out if len(options.runs) == 1 or options.out is None else options.out / run.name)


def _report(run: Path, out: Path | None) -> None:
    """Draw one run, and score the spaces of one that was pre-trained."""
    from training.reports.clustering_report import is_staged
    from training.reports.run_report import report_run

    check_writable(out or run)
    page, lines = report_run(run, out)
    print("\n".join(lines))
    if is_staged(run):
        try:
            _compare([run], page.parent)
        except UserError as error:
            print(f"The table of clustering spaces is left out. {error}")
    if (run / DISCOVERED).is_file():
        print(f"the report of 'clustnet discover': {run / DISCOVERED}")
    print(f"pictures: {page}")


def _compare(runs: Sequence[Path], out: Path) -> None:
    """Score and draw clustering in pixels, in the pre-trained embedding and after each loss."""
    from training.reports.clustering_report import describe, report

    check_writable(out)
    print(describe(report(runs, out)))
    print(f"\nclustering.csv, spaces.png, reconstructions.png: {out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet report",
        description="Draw what runs have learnt: confusion within each coarse label, scores and certainty over epochs, "
        "the gate's embedding, filters, failures and outliers with their files.",
        epilog="Several runs of deep_clustering with one recipe but different losses and seeds go into one table: "
        "clustering in pixels, in the pre-trained embedding and after each loss, on the test split.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run with a finished epoch")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for pictures and tables (default: RUN/vis; required for a table of several runs)",
    )
    return parser
