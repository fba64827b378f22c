"""``clustnet evaluate``: score a bundle or a running service on labelled images.

What is heavy is imported where it is used, so that ``--help`` and wrong arguments answer at once.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clustnet.errors import UserError
from evaluation.commands import feedback as feedback_command
from evaluation.files.patterns import names_files

if TYPE_CHECKING:
    from clustnet.datasets import LabelledImages
    from evaluation.files.evaluation import Engine
    from evaluation.report.scoring import Evaluation, FileEvaluation
    from evaluation.sources.sources import Source

EXAMPLES = """examples:
  clustnet evaluate --bundle models/mnist --data mnist:test --out reports/mnist
  clustnet evaluate --url http://127.0.0.1:3000 --data mnist:test --out reports/service
  clustnet evaluate --bundle models/mnist --data 'digits/*/*.png' --out reports/digits
  clustnet evaluate --bundle models/mnist --data 's3://bucket/digits/*.parquet' --engine ray --out reports/many
"""


def main(arguments: list[str]) -> None:
    """Run the command: print the scores and write the report.

    Raises:
        UserError: the bundle, service, data or output folder cannot be used.
    """
    if feedback_command.is_asked(arguments):
        feedback_command.main(arguments)
        return
    options = _parser().parse_args(arguments)
    _check_combination(options)
    evaluation = _evaluate_files(options) if names_files(options.data) else _evaluate(options)
    from evaluation.report.summary import summary

    for line in summary(evaluation):
        print(line)
    print(f"report: {options.out / 'report.html'}")


def _check_combination(options: argparse.Namespace) -> None:
    if options.coarse is not None and options.url is None:
        raise UserError("--coarse goes with --url; a bundle's manifest tells its own groups.")
    if options.reference_budget is not None and options.url is not None:
        raise UserError(
            "--reference-budget goes with --bundle; a service does not tell its experts' answers, "
            "on which a class map is fitted."
        )
    if names_files(options.data):
        _check_files(options)
    elif options.engine == "ray":
        raise UserError(
            "--engine ray reads files; name them with --data, as in 'digits/*/*.png' or 'digits/*.parquet'."
        )
    if options.url is not None and options.device != "auto":
        raise UserError("--device goes with --bundle; the service at --url has its own.")
    if options.workers is not None and options.engine != "ray":
        raise UserError("--workers goes with --engine ray; the local engine is one process.")


def _check_files(options: argparse.Namespace) -> None:
    for option in ("url", "outliers", "reference_budget"):
        if getattr(options, option) is not None:
            name = option.replace("_", "-")
            raise UserError(
                f"--{name} goes with data of the form NAME:SPLIT; of files, --bundle is scored, and no more."
            )
    if options.engine == "ray" and options.device == "cuda":
        raise UserError("--engine ray runs on CPUs; leave out --device cuda, or the engine.")


def _evaluate(options: argparse.Namespace) -> "Evaluation":
    from evaluation.commands.progress import show_batches
    from evaluation.report.report import check_replaceable, write_report
    from evaluation.report.scoring import evaluate
    from evaluation.sources.coarse_option import parse_coarse

    check_replaceable(options.out)
    data = _load(options.data, options).first(options.limit)
    training, outliers = _training_split(options, data), _outliers(options, data)
    grouping = None if options.coarse is None else parse_coarse(options.coarse, data.classes)
    with _open_source(options, data) as source:
        evaluation = evaluate(source, data, grouping, show_batches)
        if outliers is not None:
            evaluation = _with_outliers(evaluation, source, outliers)
    if training is not None:
        evaluation = _with_budget(evaluation, options, training)
    write_report(evaluation, options.out)
    return evaluation


def _load(data: str, options: argparse.Namespace, split: str | None = None) -> "LabelledImages":
    """Load ``NAME:SPLIT``, or another split of it; a folder's images as the bundle reads them, with its classes."""
    from clustnet.bundles.bundle import MANIFEST, read_manifest
    from clustnet.datasets import load_folder, load_named, parse

    name, told, path = parse(data)
    if name != "folder":
        return load_named(name, split or told, path)
    if options.bundle is None:
        raise UserError("Data of the form folder:PATH go with --bundle, which tells the size of its images.")
    manifest = read_manifest(options.bundle / MANIFEST)
    return load_folder(split or told, path, manifest.input, manifest.fine_classes)


def _evaluate_files(options: argparse.Namespace) -> "FileEvaluation":
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
    if options.engine == "local":
        from evaluation.files.evaluation import score_here

        return score_here
    from evaluation.files.ray_engine import score_on_ray

    return partial(score_on_ray, workers=options.workers)


def _training_split(options: argparse.Namespace, data: "LabelledImages") -> "LabelledImages | None":
    """Load what reference images are drawn from; they must never be among those that are scored."""
    if options.reference_budget is None:
        return None
    from evaluation.report.reference_budget import check_budgets

    if data.split != "test":
        raise UserError(
            "--reference-budget draws from the training split, so it scores the test split; end --data with ':test'."
        )
    training = _load(options.data, options, "reference" if data.name == "folder" else "train")
    check_budgets(options.reference_budget, training)
    return training


def _outliers(options: argparse.Namespace, data: "LabelledImages") -> "LabelledImages | None":
    if options.outliers is None:
        return None
    from evaluation.report.outliers import check_outliers

    outliers = _load(options.outliers, options).first(options.limit)
    check_outliers(outliers, data)
    return outliers


def _with_outliers(evaluation: "Evaluation", source: "Source", outliers: "LabelledImages") -> "Evaluation":
    from evaluation.commands.progress import show_batches
    from evaluation.report.outliers import compare_outliers

    progress = partial(show_batches, what="outliers")
    return replace(evaluation, outliers=compare_outliers(source, evaluation.answers, outliers, progress))


def _with_budget(evaluation: "Evaluation", options: argparse.Namespace, training: "LabelledImages") -> "Evaluation":
    from evaluation.commands.progress import show_batches
    from evaluation.report.reference_budget import measure_budget
    from evaluation.sources.bundle_source import BundleSource

    predictor = BundleSource(options.bundle, options.device).predictor
    progress = partial(show_batches, what="images for the reference budget")
    budget = measure_budget(predictor, training, evaluation.data, options.reference_budget, progress)
    return replace(evaluation, budget=budget)


@contextmanager
def _open_source(options: argparse.Namespace, data: "LabelledImages") -> "Iterator[Source]":
    if options.url is not None:
        from evaluation.sources.url_source import API_KEY_VARIABLE, UrlSource

        with closing(UrlSource(options.url, data.classes, os.environ.get(API_KEY_VARIABLE, "").strip())) as service:
            yield service
        return
    from evaluation.sources.bundle_source import BundleSource

    source = BundleSource(options.bundle, options.device)
    if source.manifest.fine_classes != data.classes:
        raise UserError(
            f"The bundle {options.bundle} knows the classes {', '.join(source.manifest.fine_classes)}, "
            f"but {data.name} has {', '.join(data.classes)}; name the data that the model was trained for."
        )
    yield source


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clustnet evaluate",
        description="Score a bundle, or a running service, on labelled images and write a report:\n"
        "scores.json, predictions.csv, plots, and report.html, which shows them all.",
        epilog=EXAMPLES + feedback_command.EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bundle", type=Path, help="the bundle's folder")
    source.add_argument(
        "--url",
        help="the running service's address, as in http://127.0.0.1:3000; its API key is CLUSTNET_API_KEY's value",
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="mnist:test, or cifar10:PATH:test with its files' path, or, with --bundle, folder:PATH, whose test/CLASS/"
        "are scored, or files: images in folders named for their classes ('digits/*/*.png'), or Parquet with columns "
        "image and label ('s3://bucket/*.parquet')",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="who scores files: this process, or Ray on all cores or the cluster of RAY_ADDRESS (default: local)",
    )
    parser.add_argument(
        "--workers",
        type=_at_least_one,
        metavar="N",
        help="with --engine ray: its processes (default: one for each CPU that Ray has)",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="the report's folder; an earlier report is replaced",
    )
    parser.add_argument("--limit", type=_at_least_one, metavar="N", help="score the first N images, and outliers, only")
    parser.add_argument(
        "--outliers",
        metavar="NAME:SPLIT",
        help="images of another kind, as in notmnist:PATH:test; tells how well the confidence sets them apart",
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
        help="where a bundle runs (default: auto)",
    )
    parser.add_argument(
        "--coarse",
        metavar="GROUPS",
        help="with --url: the classes behind each coarse label, as in 'low=0,1,2,3,4;high=5,6,7,8,9'; "
        "not needed for labels that are ranges, as 0-4 and 5-9",
    )
    return parser


def _budgets(text: str) -> tuple[int, ...]:
    return tuple(sorted({_at_least_one(part.strip()) for part in text.split(",")}))


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
