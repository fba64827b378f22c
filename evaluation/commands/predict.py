"""``clustnet predict``: predict image files with a bundle."""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clustnet.errors import UserError
from clustnet.files import shown

if TYPE_CHECKING:
    from clustnet.bundles.answers import Answers
    from clustnet.bundles.bundle import InputSpec


def main(arguments: list[str]) -> None:
    """Run the command: print a table of predictions; a bad file is named and the others still predicted.

    Raises:
        UserError: the bundle cannot be used, or a file could not be predicted.
    """
    options = _parser().parse_args(arguments)
    # They are imported late, so that --help stays quick.
    from evaluation.sources.bundle_source import BundleSource
    from evaluation.sources.sources import answer_all

    source = BundleSource(options.bundle, options.device)
    files, images = _readable(options.files, source.info.input)
    if files:
        answers, classes = answer_all(source, np.stack(images)), source.info.class_names
        if options.csv:
            csv.writer(sys.stdout, lineterminator="\n").writerows(csv_rows(files, answers, classes))
        else:
            print("\n".join(_aligned(list(_table(files, answers, classes)))))
    bad = len(options.files) - len(files)
    if bad:
        raise UserError(f"{bad} of {len(options.files)} files could not be predicted; see above.")


def _readable(files: list[Path], spec: "InputSpec") -> tuple[list[Path], list[NDArray[np.uint8]]]:
    """Return the files that can be read, prepared; name the others, with the reason, on stderr."""
    from clustnet.bundles.preparation import prepare

    good, images = [], []
    for file in files:
        try:
            images.append(prepare(file.read_bytes(), spec))
            good.append(file)
        except UserError as error:
            print(f"{shown(file)}: {error}", file=sys.stderr)
        except OSError as error:
            print(f"{shown(file)}: {error.strerror}; name image files.", file=sys.stderr)
    return good, images


def csv_rows(files: Sequence[Path], answers: "Answers", classes: Sequence[str]) -> Iterator[list[object]]:
    """Yield a heading and a row for each file, with the probability of every coarse label and class."""
    labels = answers.coarse_labels
    yield [
        *("file", "coarse", "coarse_probability", "guess", "guess_probability", "expert", "confidence", "abstain"),
        *(f"coarse_probability/{label}" for label in labels),
        *(f"probability/{name}" for name in classes),
    ]
    for i, file in enumerate(files):
        yield [
            *(shown(file), answers.coarse_label[i], answers.coarse_probability[i].max()),
            *(classes[answers.guess[i]], answers.guess_probability[i], answers.expert[i], answers.confidence[i]),
            int(answers.abstain[i]),
            *answers.coarse_probability[i],
            *answers.class_probability[i],
        ]


def _table(files: Sequence[Path], answers: "Answers", classes: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield a heading and a row for each file, as a person reads them; one coarse label is left out."""
    divided = len(answers.coarse_labels) > 1
    coarse = ("coarse label", "probability") if divided else ()
    yield ("file", *coarse, "guess", "probability", "expert", "confidence")
    for i, file in enumerate(files):
        cells = (str(answers.coarse_label[i]), f"{answers.coarse_probability[i].max():.4f}") if divided else ()
        yield (
            shown(file),
            *cells,
            classes[answers.guess[i]],
            f"{answers.guess_probability[i]:.4f}",
            str(answers.expert[i]),
            f"{answers.confidence[i]:.4f}" + (" (abstains)" if answers.abstain[i] else ""),
        )


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of rows laid out in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _parser() -> argparse.ArgumentParser:
    """Return the command's arguments."""
    parser = argparse.ArgumentParser(
        prog="clustnet predict",
        description="Predict the coarse label, class and expert of image files (PNG, JPEG, WebP, BMP).",
        epilog="A file that cannot be read is named on stderr, and the exit code is then 2.",
        allow_abbrev=False,
    )
    parser.add_argument("--bundle", required=True, type=Path, help="the bundle's folder")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it runs (default: auto)"
    )
    parser.add_argument("--csv", action="store_true", help="print CSV, with the probability of every label and class")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="an image file")
    return parser
