"""``clustnet visualize``: pictures of what a run's filters and clusters see."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clustnet.errors import UserError
from clustnet.files import check_writable, write_text

MOST_IMAGES = 2_000


def main(arguments: Sequence[str]) -> None:
    """Write one page of pictures.

    Raises:
        UserError: there is no finished run with convolutions, its data cannot be read, or ``--filters`` is under 1.
    """
    options = _parser().parse_args(arguments)
    out: Path = options.out or options.run / "visualize.html"
    check_writable(out.absolute().parent)
    if options.filters < 1:
        raise UserError(f"--filters is {options.filters}, but must be 1 or more.")
    # Imported here, so that --help does not load torch.
    from training.data.data import load_split
    from training.runs.run_folder import RunFolder
    from training.visualize.page import visualize

    folder = RunFolder.kept(options.run)
    images = load_split(folder.recipe().data, "train").first(MOST_IMAGES)
    write_text(out, visualize(folder, images, options.filters, options.seed))
    print(f"{out}: filters of each convolution, and clusters")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet visualize",
        description="Draw what filters see: the image that gradient ascent finds for each, and the nine training "
        "images with its highest mean output; and the clusters as contact sheets. All on one page.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a finished run of any method whose network has convolutions"
    )
    parser.add_argument("--filters", type=int, default=8, metavar="N", help="filters per layer (default: 8)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the noise from which the ascent starts (default: 0)"
    )
    parser.add_argument("--out", type=Path, help="the page (default: RUN/visualize.html)")
    return parser
