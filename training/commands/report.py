"""``clustnet report``: what runs of ``deep_clustering`` found, in one table and two pictures."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clustnet.files import check_writable


def main(arguments: Sequence[str]) -> None:
    """Score and draw runs.

    Raises:
        UserError: a folder is no finished run of the method, or the runs do not fit into one table.
    """
    options = _parser().parse_args(arguments)
    check_writable(options.out)
    # Imported here, so that --help does not load torch.
    from training.reports.clustering_report import describe, report

    print(describe(report(options.runs, options.out)))
    print(f"\nclustering.csv, spaces.png, reconstructions.png: {options.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet report",
        description="Clustering in pixels, in the pre-trained embedding and after each loss, on the test split.",
        epilog="The runs are of one recipe, with other losses and seeds; the first run of each loss is drawn.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a finished run of deep_clustering")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table and the pictures")
    return parser
