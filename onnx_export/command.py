"""``clustnet export``: run -> bundle."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clustnet.files import check_writable


def main(arguments: Sequence[str]) -> None:
    """Export a run and print what was written.

    Raises:
        UserError: no run, no finished epoch, missing data, or a folder that is not a bundle or cannot be written.
        ParityError: the graphs disagree with the trained model.
    """
    options = _parser().parse_args(arguments)
    check_writable(options.out.absolute().parent)
    # Imported here, so that --help does not load torch.
    from onnx_export.export import export

    exported = export(options.run, options.out, options.name, options.version, options.examples, options.epoch)
    scores = {score.name: score.value for score in exported.manifest.scores}
    print(f"{options.out}: {exported.manifest.name} version {exported.manifest.version}")
    print(f"parity with torch within {exported.parity:.1e}")
    shown = [name for name in ("coarse_accuracy", "class_accuracy") if name in scores]
    if shown:
        print(", ".join(f"{name.replace('_', ' ')} {scores[name]:.4f}" for name in shown) + " (test split)")
    for what, named in (("subtypes with names", True), ("subtypes without names", False)):
        names = [subtype.name for subtype in exported.manifest.subtypes if subtype.named == named]
        if names and exported.manifest.class_map.kind == "cells" and exported.manifest.tree is None:
            print(f"{what}: {', '.join(names)}")
    for note in exported.notes:
        print(note)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet export", description="Turn a run into a bundle: ONNX graphs, class map, scores, model card."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder that 'clustnet train' wrote")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder, such as models/mnist")
    parser.add_argument("--name", help="the model's name (default: the name of the bundle's folder)")
    parser.add_argument("--version", default="1", help="the model's version (default: 1)")
    parser.add_argument(
        "--epoch",
        type=_epoch,
        default="last",
        metavar="EPOCH",
        help="the epoch whose checkpoint is exported: last, best by the label-free score, or a number (default: last)",
    )
    parser.add_argument(
        "--no-examples",
        dest="examples",
        action="store_false",
        help="leave out the few training images of each subtype that the page shows beside an answer",
    )
    return parser


def _epoch(text: str) -> str:
    if text not in ("last", "best") and not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not an epoch; give last, best or a number")
    return text
