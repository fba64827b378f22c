"""``clustnet evaluate``: score a bundle or a running service on images.

Heavy modules are imported where they are used, so that ``--help`` and wrong arguments answer at once.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from clustnet.errors import UserError
from clustnet.options import LOCAL, RAY, add_engine, at_least_one, check_workers
from evaluation.commands import feedback as feedback_command
from evaluation.files.patterns import names_files

if TYPE_CHECKING:
    from clustnet.datasets import LabelledImages
    from evaluation.files.evaluation import Engine, FileEvaluation
    from evaluation.report.scoring import Evaluation
    from evaluation.sources.bundle_source import BundleSource
    from evaluation.sources.sources import Source

EXAMPLES = """examples:
  clustnet evaluate --bundle models/mnist --data mnist:test --out reports/mnist
  clustnet evaluate --url http://127.0.0.1:3000 --data mnist:test --out reports/service
  clustnet evaluate --bundle models/screws --data folder:screws --out reports/screws
  clustnet evaluate --bundle models/mnist --data 'digits/*/*.png' --out reports/digits
  clustnet evaluate --bundle models/mnist --data 's3://bucket/digits/*.parquet' --engine ray --out reports/many
"""


def main(arguments: list[str]) -> None:
    """Run the command: print the scores and write the report.

    Raises:
        UserError: the bundle, service, data or output folder cannot be used.
    """
    if feedback_command.is_requested(arguments):
        feedback_command.main(arguments)
        return
    options = _parser().parse_args(arguments)
    _check_combination(options)
    files = _evaluate_files(options) if names_files(options.data) else None
    evaluation = files or _evaluate(options)
    from evaluation.report.summary import summary

    for line in summary(evaluation):
        print(line)
    print(f"report: {options.out / 'report.html'}")
    if options.strict and files is not None and files.unread.total:
        raise UserError(f"{files.unread.total:,} files or images were not read, and --strict was given; see above.")


def _check_combination(options: argparse.Namespace) -> None:
    """Raise if options do not go together."""
    if options.reference_budget is not None and options.url is not None:
        raise UserError(
            "--reference-budget goes with --bundle; a service does not answer with its experts' probabilities, "
            "on which a class map is fitted."
        )
    if names_files(options.data):
        _check_files(options)
    elif options.engine == RAY:
        raise UserError(
            "--engine ray reads files; name them with --data, as in 'digits/*/*.png' or 'digits/*.parquet'."
        )
    if options.url is not None and options.device != "auto":
        raise UserError("--device goes with --bundle; the service at --url has its own.")
    check_workers(options)


def _check_files(options: argparse.Namespace) -> None:
    """Raise if options do not go with data that are files."""
    for option in ("url", "outliers", "reference_budget"):
        if getattr(options, option) is not None:
            name = option.replace("_", "-")
            raise UserError(f"--{name} goes with data of the form NAME:SPLIT; files are scored with --bundle alone.")
    if options.engine == RAY and options.device == "cuda":
        raise UserError("--engine ray runs on CPUs; leave out --device cuda, or the engine.")


def _evaluate(options: argparse.Namespace) -> "Evaluation":
    """Return the evaluation of images that are held in memory."""
    from evaluation.commands.progress import show_batches
    from evaluation.report.report import check_replaceable, write_report
    from evaluation.report.scoring import evaluate, with_truth

    check_replaceable(options.out)
    with _open_source(options) as source:
        data = with_truth(_load(options.data, source).first(options.limit), source.info)
        training, outliers = _training_split(options, source, data), _outliers(options, source, data)
        evaluation = evaluate(source, data, show_batches)
        if outliers is not None:
            evaluation = _with_outliers(evaluation, source, outliers)
        if training is not None:
            evaluation = _with_budget(evaluation, source, options.reference_budget, training)
    write_report(evaluation, options.out)
    return evaluation


def _load(data: str, source: "Source", split: str | None = None, strangers: bool = False) -> "LabelledImages":
    """Return the images of ``NAME:SPLIT``, or of another split of it.

    Args:
        data: what the user named.
        source: whose model reads a folder's images; its coarse labels and classes name the sub-folders.
        split: the other split, if one is wanted.
        strangers: whether the images are of another kind, so that sub-folders are not named for the model's labels.
    """
    from clustnet.datasets import load_folder, load_named, parse

    name, named, path = parse(data)
    if name != "folder":
        return load_named(name, split or named, path)
    return load_folder(split or named, path, source.info.input, None if strangers else source.info.folder_names)


def _evaluate_files(options: argparse.Namespace) -> "FileEvaluation":
    """Return the evaluation of images in files."""
    from evaluation.commands.progress import show_parts
    from evaluation.report.report import check_replaceable, write_report

    check_replaceable(options.out)
    try:
        from evaluation.files.evaluation import evaluate_files

        engine = _engine(options)
    except ModuleNotFoundError as error:
        extra = f"needs {error.name}; install it with: pip install '.[ray]' in the repository"
        raise UserError(f"Evaluating files with --engine {options.engine} {extra}") from None
    evaluation = evaluate_files(options.data, options.bundle, options.device, engine, options.limit, show_parts)
    write_report(evaluation, options.out)
    return evaluation


def _engine(options: argparse.Namespace) -> "Engine":
    """Return what scores the files."""
    if options.engine == LOCAL:
        from evaluation.files.evaluation import score_here

        return score_here
    from evaluation.files.ray_engine import score_on_ray

    return partial(score_on_ray, workers=options.workers)


def _training_split(options: argparse.Namespace, source: "Source", data: "LabelledImages") -> "LabelledImages | None":
    """Return what reference images are drawn from; they must never be among those that are scored."""
    if options.reference_budget is None:
        return None
    from evaluation.report.reference_budget import check_budgets

    if data.split != "test":
        raise UserError(
            "--reference-budget draws from the training split, so it scores the test split; end --data with ':test'."
        )
    training = _load(options.data, source, "reference" if data.name == "folder" else "train")
    check_budgets(options.reference_budget, training, data)
    return training


def _outliers(options: argparse.Namespace, source: "Source", data: "LabelledImages") -> "LabelledImages | None":
    """Return the outliers, where they were requested."""
    if options.outliers is None:
        return None
    from evaluation.report.outliers import check_outliers

    outliers = _load(options.outliers, source, strangers=True).first(options.limit)
    check_outliers(outliers, data)
    return outliers


def _with_outliers(evaluation: "Evaluation", source: "Source", outliers: "LabelledImages") -> "Evaluation":
    """Return the evaluation with a comparison with outliers."""
    from evaluation.commands.progress import show_batches
    from evaluation.report.outliers import compare_outliers

    progress = partial(show_batches, what="outliers")
    return replace(evaluation, outliers=compare_outliers(source, evaluation.answers, outliers, progress))


def _with_budget(
    evaluation: "Evaluation", source: "Source", per_class: Sequence[int], training: "LabelledImages"
) -> "Evaluation":
    """Return the evaluation with the accuracy against the number of labelled images."""
    from evaluation.commands.progress import show_batches
    from evaluation.report.reference_budget import reference_budget

    progress = partial(show_batches, what="images for the reference budget")
    # A service was refused before any work.
    predictor = cast("BundleSource", source).predictor
    budget = reference_budget(predictor, training, evaluation.data, per_class, progress)
    return replace(evaluation, budget=budget)


@contextmanager
def _open_source(options: argparse.Namespace) -> "Iterator[Source]":
    """Yield the bundle or the service that is scored."""
    if options.url is not None:
        from evaluation.sources.url_source import API_KEY_VARIABLE, UrlSource

        with closing(UrlSource(options.url, os.environ.get(API_KEY_VARIABLE, "").strip())) as service:
            yield service
        return
    from evaluation.sources.bundle_source import BundleSource

    yield BundleSource(options.bundle, options.device)


def _parser() -> argparse.ArgumentParser:
    """Return the command's arguments."""
    parser = argparse.ArgumentParser(
        prog="clustnet evaluate",
        description="Score a bundle, or a running service, on images and write a report: scores.json,\n"
        "predictions.csv, plots, and report.html, which shows them all. Scores that the known\n"
        "truth does not allow are left out, and the report says so.",
        epilog=EXAMPLES + feedback_command.EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bundle", type=Path, help="the bundle's folder")
    source.add_argument(
        "--url",
        help="the running service's address, as in http://127.0.0.1:3000; set CLUSTNET_API_KEY to its API key",
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="mnist:test; cifar10:PATH:test with its files' path; folder:PATH, whose test/ has images in folders named "
        "for their coarse labels, their classes, or LABEL/CLASS; or, with --bundle, files: images in such folders "
        "('digits/*/*'), or Parquet with the column image, and label or coarse where the truth is known "
        "('s3://bucket/*.parquet')",
    )
    add_engine(parser, "scores files")
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="the report's folder; an earlier report is replaced",
    )
    parser.add_argument("--strict", action="store_true", help="exit with code 2 if any file could not be read")
    parser.add_argument(
        "--limit", type=at_least_one, metavar="N", help="score only the first N images and the first N outliers"
    )
    parser.add_argument(
        "--outliers",
        metavar="NAME:SPLIT",
        help="images of another kind, as in notmnist:PATH:test or folder:PATH; measures how well the confidence "
        "separates them",
    )
    parser.add_argument(
        "--reference-budget",
        type=_budgets,
        metavar="N,N,...",
        help="with --bundle: the class accuracy for N labelled training images of each class, as in 1,2,5,10,50,100",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="the device that runs a bundle (default: auto)",
    )
    return parser


def _budgets(text: str) -> tuple[int, ...]:
    """Return the numbers of a comma-separated list, ascending, each once."""
    return tuple(sorted({at_least_one(part.strip()) for part in text.split(",")}))
