"""``clustnet probe``: how well the classes can be read from each layer of a run."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clustnet.datasets.multi_label import NAMES, load_multi_label
from clustnet.errors import UserError
from clustnet.files import check_writable, write_table
from training.recipe.recipe import Data

HEADER = "layer      values      linear   untrained  neighbours   untrained"


def main(arguments: Sequence[str]) -> None:
    """Probe a run, and write a table and a picture.

    Raises:
        UserError: there is no finished run with convolutions, it lacks one of the layers, or the data have no classes.
    """
    options = _parser().parse_args(arguments)
    out: Path = options.out or options.run / "probe"
    check_writable(out)
    name = (options.data or "").partition(":")[0]
    (_multi_label if name in NAMES else _layers)(options, out)


def _layers(options: argparse.Namespace, out: Path) -> None:
    """Read one class per image from each layer."""
    # Imported here, so that --help does not load torch.
    from training.probe.plot import plot
    from training.probe.probe import load_splits, probe, summary
    from training.runs.run_folder import RunFolder

    folder = RunFolder.kept(options.run)
    splits = load_splits(_data(options, folder.recipe().data))
    print(HEADER, flush=True)
    rows = probe(folder, splits, options.layers.split(","), options.seed)
    write_table(out / "probe.csv", rows)
    plot(rows, len(splits.train.classes), len(splits.test), out / "probe.png")
    print(f"\n{summary(splits)}\nprobe.csv, probe.png: {out}")


def _multi_label(options: argparse.Namespace, out: Path) -> None:
    """Train the last layers, and all of them, for photographs with several labels each."""
    from training.probe.multi_label import image_side, multi_label
    from training.runs.run_folder import RunFolder

    if options.layers != "all" or options.train_images or options.test_images:
        raise UserError(
            "--layers, --train-images and --test-images are for data with one class per image; leave them out."
        )
    folder = RunFolder.kept(options.run)
    name, _, path = options.data.partition(":")
    side = image_side(folder)
    train, test = (load_multi_label(name, split, Path(path) if path else None, side) for split in ("train", "test"))
    rows = multi_label(folder, train, test, seed=options.seed)
    write_table(out / "multi_label.csv", rows)
    print("layers trained       mAP   untrained")
    for row in rows:
        print(f"{row['trained_layers']:<12}{row['map']:12.4f}{row['untrained_map']:12.4f}")
    print(f"\nMean average precision over {rows[0]['classes']} classes of {len(test.images):,} test images of {name}")
    print(f"multi_label.csv: {out}")


def _data(options: argparse.Namespace, own: Data) -> Data:
    """Return the run's data, or the data that the options name, which need no coarse labels."""
    changes = {f"{split}_images": getattr(options, f"{split}_images") for split in ("train", "test")}
    if options.data is None:
        kept = {key: value for key, value in changes.items() if value}
        return own.model_copy(update={"train_counts": None, "validation_images": 0} | kept)
    name, _, path = options.data.partition(":")
    shape = own.model_dump(include={"size", "colour", "preparation", "aspect"})
    return Data.model_validate(shape | {"name": name, "path": path or None, "coarse": None} | changes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet probe",
        description="Learn the classes from each layer's frozen activations: by a linear classifier, whose step size "
        "and weight decay a fifth of the training images choose, and by ten nearest neighbours of their means over the "
        "image. Beside it stand the same network untrained, and the pixels.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a finished run of any method whose network has convolutions"
    )
    parser.add_argument(
        "--data",
        metavar="NAME:PATH",
        help="images of known classes, as in cifar10:cifar10.npz (default: the run's); voc2007:VOCdevkit/VOC2007 or "
        "coco256:coco256.npz for photographs with several labels, for which the linear layers and then all are trained",
    )
    parser.add_argument(
        "--layers", default="all", help="any of conv1, conv2, ... and embedding, as in conv3,conv4 (default: all)"
    )
    parser.add_argument("--train-images", type=int, metavar="N", help="use the first N images of the training split")
    parser.add_argument("--test-images", type=int, metavar="N", help="use the first N images of the test split")
    parser.add_argument("--seed", type=int, default=0, help="seed of the linear classifiers (default: 0)")
    parser.add_argument("--out", type=Path, help="folder for the table and the picture (default: RUN/probe)")
    return parser
