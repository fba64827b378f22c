"""``clustnet predict``: predict images with a bundle."""

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from clustnet.errors import UserError
from clustnet.files import check_writable, replacing

if TYPE_CHECKING:
    from clustnet.bundles.answers import Answers
    from evaluation.files.named import Named
    from evaluation.sources.bundle_source import BundleSource

STANDARD_OUTPUT = "-"


def main(arguments: list[str]) -> None:
    """Run the command: write predictions; a bad file is reported, and the others are still predicted.

    Raises:
        UserError: the bundle cannot be used, or a file could not be predicted.
    """
    options = _parser().parse_args(arguments)
    # Imported here, so that --help stays quick.
    from evaluation.files.named import named_images
    from evaluation.sources.bundle_source import BundleSource

    source = BundleSource(options.bundle, options.device)
    counts = Counts()
    answered = _answered(named_images(options.files, source.info), source, counts)
    classes = source.info.class_names
    if options.csv is not None:
        with _written(options.csv) as stream:
            _write_csv(stream, answered, classes)
    elif options.json is not None:
        with _written(options.json) as stream:
            _write_json(stream, answered, classes)
    else:
        rows = [row for names, answers in answered for row in _table(names, answers, classes)]
        if rows:
            print("\n".join(_aligned([_heading(source.info.grouping.labels), *rows])))
    if counts.bad:
        raise UserError(f"{counts.bad} of {counts.all} files could not be predicted; see above.")


@dataclass
class Counts:
    """How many images there were, and how many of them could not be predicted."""

    all: int = 0
    bad: int = 0


def _answered(
    batches: Iterable[list["Named"]], source: "BundleSource", counts: Counts
) -> Iterator[tuple[list[str], "Answers"]]:
    """Yield the names of images and their answers; name those that cannot be read, with the reason, on stderr."""
    for batch in batches:
        names = [found.name for found in batch if found.image is not None]
        images = [found.image for found in batch if found.image is not None]
        for found in batch:
            if found.image is None:
                print(f"{found.name}: {found.fault}", file=sys.stderr)
        counts.all += len(batch)
        counts.bad += len(batch) - len(images)
        if images:
            yield names, source.answer(np.stack(images))


@contextmanager
def _written(path: Path) -> Iterator[IO[str]]:
    """Yield a stream to standard output for ``-``, or else to a file that appears whole or not at all."""
    if str(path) == STANDARD_OUTPUT:
        yield sys.stdout
        return
    check_writable(path.absolute().parent, "the file's path")
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        yield stream


def _write_csv(stream: IO[str], answered: Iterable[tuple[list[str], "Answers"]], classes: Sequence[str]) -> None:
    """Write a heading and a row for each image, with the probability of every coarse label and class."""
    writer, heading = csv.writer(stream, lineterminator="\n"), False
    for names, answers in answered:
        rows = csv_rows(names, answers, classes)
        first = next(rows)
        if not heading:
            writer.writerow(first)
            heading = True
        writer.writerows(rows)


def csv_rows(names: Sequence[str], answers: "Answers", classes: Sequence[str]) -> Iterator[list[object]]:
    """Yield a heading and a row for each image, with the probability of every coarse label and class."""
    labels = answers.coarse_labels
    yield [
        *("file", "coarse", "coarse_probability", "guess", "guess_probability", "expert", "confidence", "abstain"),
        *(f"coarse_probability/{label}" for label in labels),
        *(f"probability/{name}" for name in classes),
    ]
    for i, name in enumerate(names):
        yield [
            *(name, answers.coarse_label[i], answers.coarse_probability[i].max()),
            *(classes[answers.guess[i]], answers.guess_probability[i], answers.expert[i], answers.confidence[i]),
            int(answers.abstain[i]),
            *answers.coarse_probability[i],
            *answers.class_probability[i],
        ]


def _write_json(stream: IO[str], answered: Iterable[tuple[list[str], "Answers"]], classes: Sequence[str]) -> None:
    """Write a list with an object for each image, whose fields are named as in a service's answer."""
    between = "[\n"
    for names, answers in answered:
        for i, name in enumerate(names):
            stream.write(between + json.dumps(_object(name, answers, i, classes)))
            between = ",\n"
    stream.write("[]\n" if between == "[\n" else "\n]\n")


def _object(name: str, answers: "Answers", i: int, classes: Sequence[str]) -> dict[str, object]:
    """Return the answer for one image, ready for JSON."""
    coarse = dict(zip(answers.coarse_labels, answers.coarse_probability[i].tolist(), strict=True))
    return {
        "file": name,
        "coarse": {
            "label": str(answers.coarse_label[i]),
            "probability": max(coarse.values()),
            "probabilities": coarse,
        },
        "guess": {"label": classes[answers.guess[i]], "probability": float(answers.guess_probability[i])},
        "class_probabilities": dict(zip(classes, answers.class_probability[i].tolist(), strict=True)),
        "expert": int(answers.expert[i]),
        "confidence": float(answers.confidence[i]),
        "abstain": bool(answers.abstain[i]),
    }


def _heading(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the heading of the table that a person reads; one coarse label is left out."""
    coarse = ("coarse label", "probability") if len(labels) > 1 else ()
    return ("file", *coarse, "guess", "probability", "expert", "confidence")


def _table(names: Sequence[str], answers: "Answers", classes: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield a row of that table for each image."""
    divided = len(answers.coarse_labels) > 1
    for i, name in enumerate(names):
        cells = (str(answers.coarse_label[i]), f"{answers.coarse_probability[i].max():.4f}") if divided else ()
        yield (
            name,
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
        description="Predict the coarse label, subtype, confidence and expert of images (PNG, JPEG, WebP, BMP).",
        epilog="A file that cannot be read is reported on stderr, and the exit code is then 2.",
        allow_abbrev=False,
    )
    parser.add_argument("--bundle", required=True, type=Path, help="the bundle's folder")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="the device that runs the model (default: auto)",
    )
    form = parser.add_mutually_exclusive_group()
    what = "one row per image, with the probability of every label and class"
    form.add_argument("--csv", type=Path, metavar="OUT.csv", help=f"write CSV, {what}; '-' prints it")
    form.add_argument(
        "--json", type=Path, metavar="OUT.json", help="write the same rows as a list in JSON; '-' prints it"
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="IMAGES",
        help="image files, folders of them at any depth, patterns such as 'in/**/*.jpg' in quotes, or Parquet files "
        "with a column image",
    )
    return parser
