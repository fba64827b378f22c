"""``clustnet discover``: the whole way from own images to named subtypes."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from clustnet.errors import UserError
from clustnet.files import check_writable
from clustnet.options import LOCAL, add_engine, check_workers
from training.discover.arguments import (
    AUTO,
    Arguments,
    Columns,
    check_encoders,
    parse_subtypes,
    read_arguments,
)
from training.discover.engines import Engine, on_threads


def main(arguments: Sequence[str]) -> None:
    """Find the subtypes inside each coarse label of some images.

    Raises:
        UserError: images or options cannot be used, or a folder holds something else.
        KeyboardInterrupt: stopped by the user; its message says how to continue.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.resume is not None:
        _resume(options)
        return
    if options.images is None:
        parser.error("IMAGES is missing: name the folder or file of your images")
    found = _arguments(options)
    if options.add is not None or options.bundle is not None:
        _add(options, found)
        return
    if not found.images.exists():
        raise UserError(f"There is no folder or file {found.images}; name one with images.")
    check_encoders(found.encoder)
    check_writable(options.out)
    if options.cache is not None:
        check_writable(options.cache, "--cache")
    engine = _engine(options)
    # Imported here, so that --help does not load torch.
    from training.discover.steps import Discovery

    Discovery(found, options.out, options.cache, engine).go()


def _engine(options: argparse.Namespace) -> Engine:
    """Return the engine that reads and embeds images.

    Raises:
        UserError: Ray is not installed, or workers are given to an engine that has none.
    """
    check_workers(options)
    if options.engine == LOCAL:
        return on_threads
    try:
        from clustnet.ray_cluster import on_ray
    except ModuleNotFoundError as error:
        raise UserError(
            f"--engine ray needs {error.name}; install it with: pip install '.[ray]' in the repository"
        ) from None
    return partial(on_ray, workers=options.workers)


def _resume(options: argparse.Namespace) -> None:
    """Train again from the review of a run, with the arguments that the run was started with.

    Raises:
        UserError: the run cannot be resumed, or other options are given as well.
    """
    if options.add is not None or options.bundle is not None:
        raise UserError("--resume cannot be combined with --add or --bundle; add to the run that --resume makes.")
    if options.images is not None:
        raise UserError(f"--resume uses the images of {options.resume}; leave out {options.images}.")
    if options.out.resolve() == options.resume.resolve():
        raise UserError(f"The run {options.resume} is never overwritten; name a new folder with --out.")
    check_writable(options.out)
    # Imported here, so that --help does not load torch.
    from training.discover.resuming import Resumed, check_resumable

    check_resumable(options.resume)
    before = read_arguments(options.resume)
    Resumed(before.model_copy(update={"resume": options.resume}), options.out, options.cache, _engine(options)).go()


def _add(options: argparse.Namespace, found: Arguments) -> None:
    """Add to a run the images that a model abstains from.

    Raises:
        UserError: the run, the bundle or the images cannot be used, or one of them is not named.
    """
    if options.add is None or options.bundle is None:
        raise UserError(
            "--add OLD and --bundle BUNDLE belong together: the run to add to, and the model that knows it."
        )
    if not found.images.is_dir():
        raise UserError(f"There is no folder {found.images}; name one with new images.")
    check_writable(options.out)
    # Imported here, so that --help does not load torch.
    from training.discover.adding import Added
    from training.discover.resuming import check_resumable

    check_resumable(options.add)
    new = {"images": found.images, "subtypes": found.subtypes, "resume": options.add, "bundle": options.bundle}
    arguments = read_arguments(options.add).model_copy(update=new)
    Added(arguments, options.out, options.cache, _engine(options)).go()


def _arguments(options: argparse.Namespace) -> Arguments:
    """Return the arguments of a run from the options."""
    columns = {name: getattr(options, f"{name}_column") for name in Columns.model_fields}
    encoder = tuple(word.strip() for word in options.encoder.split(","))
    try:
        return Arguments(
            images=options.images,
            labels=options.labels,
            columns=Columns(**columns),
            subtypes=parse_subtypes(options.subtypes),
            encoder=encoder,
            seed=options.seed,
            epochs=options.epochs,
        )
    except ValidationError as error:
        fault = error.errors()[0]
        raise UserError(f"--{fault['loc'][0]} is {fault['input']!r}: {fault['msg']}.") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet discover",
        description="Find the subtypes inside each coarse label of your own images.",
        epilog="Run the same command again to continue where it stopped. 'clustnet export RUN --out BUNDLE' "
        "is the next step.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "images",
        type=Path,
        nargs="?",
        metavar="IMAGES",
        help="a folder with one sub-folder for each coarse label, or train/ and test/ of that form; a CSV "
        "or Parquet file "
        "with columns file and label; or embeddings, .npy or Parquet",
    )
    parser.add_argument(
        "--resume", type=Path, metavar="OLD", help="train again from the review of the run OLD, without IMAGES"
    )
    parser.add_argument(
        "--add",
        type=Path,
        metavar="OLD",
        help="add to the run OLD the IMAGES from which a model abstains",
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="BUNDLE", help="with --add: the model that was exported from OLD"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run's folder")
    parser.add_argument(
        "--subtypes",
        default=AUTO,
        metavar="N",
        help="subtypes per coarse label: a number, ok=3,defect=6, or auto (default: rather too many, to be merged)",
    )
    parser.add_argument(
        "--encoder",
        default=AUTO,
        metavar="NAME",
        help="how images are compared: auto (default), lite0, FILE.onnx, none for pixels alone, or several as in a,b",
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="labels of embeddings in .npy, as .npy or .csv")
    for name, default in Columns().model_dump().items():
        parser.add_argument(
            f"--{name}-column", default=default, metavar="NAME", help=f"its name in a table (default: {default})"
        )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="embeddings shared by several runs (default: each run keeps its own)",
    )
    add_engine(parser, "reads and embeds images")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default: 0)")
    parser.add_argument("--epochs", type=int, help="epochs of training (default: as many as the images need)")
    return parser
