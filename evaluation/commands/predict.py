"""``clustnet predict``: predict image files with a bundle."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clustnet.errors import UserError

if TYPE_CHECKING:
    from clustnet.bundles.answers import Answers
    from clustnet.bundles.bundle import InputSpec

HEADINGS = ("file", "coarse label", "probability", "expert", "guess", "probability", "confidence")


def main(arguments: list[str]) -> None:
    """Run the command: print a table of predictions; a bad file is named and the others still predicted.

    Raises:
        UserError: the bundle cannot be used, or a file could not be predicted.
    """
    options = _parser().parse_args(arguments)
    from evaluation.sources.bundle_source import BundleSource  # after parsing, so that --help stays quick
    from evaluation.sources.sources import answer_all

    source = BundleSource(options.bundle, options.device)
    files, images = _readable(options.files, source.manifest.input)
    if files:
        answers = answer_all(source, np.stack(images))
        for line in _table([HEADINGS, *_rows(files, answers, source.manifest.fine_classes)]):
            print(line)
    bad = len(options.files) - len(files)
    if bad:
        raise UserError(f"{bad} of {len(options.files)} files could not be predicted; see above.")


def _readable(files: list[Path], spec: "InputSpec") -> tuple[list[Path], list[NDArray[np.uint8]]]:
    """Prepare the files; name those that cannot be read, with the reason, on stderr."""
    from clustnet.bundles.preparation import prepare

    good, images = [], []
    for file in files:
        try:
            images.append(prepare(file.read_bytes(), spec))
            good.append(file)
        except UserError as error:
            print(f"{file}: {error}", file=sys.stderr)
        except OSError as error:
            print(f"{file}: {error.strerror}; name image files.", file=sys.stderr)
    return good, images


def _rows(files: Sequence[Path], answers: "Answers", classes: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for i, file in enumerate(files):
        yield (
            str(file),
            str(answers.coarse_label[i]),
            f"{answers.coarse_probability[i]:.4f}",
            str(answers.expert[i]),
            classes[answers.guess[i]],
            f"{answers.guess_probability[i]:.4f}",
            f"{answers.confidence[i]:.4f}" + (" (abstains)" if answers.abstain[i] else ""),
        )


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Lay rows out in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clustnet predict",
        description="Predict the coarse label, expert and fine class of image files (PNG, JPEG, WebP, BMP).",
        epilog="A file that cannot be read is named on stderr, and the exit code is then 2.",
        allow_abbrev=False,
    )
    parser.add_argument("--bundle", required=True, type=Path, help="the bundle's folder")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it runs (default: auto)"
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="an image file")
    return parser
