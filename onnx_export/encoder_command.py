"""``clustnet encoder``: a timm model or a run -> an encoder that recipes and ``--encoder`` can name."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clustnet.encoders import OF_RUN
from clustnet.encoders.spec import EncoderSpec
from clustnet.errors import UserError
from clustnet.files import check_writable

TIMM = "timm:"


def main(arguments: Sequence[str]) -> None:
    """Make an encoder and print what it reads and writes.

    Raises:
        UserError: timm is not installed or has no such model, its weights cannot be had, or the folder cannot be
            written.
        ParityError: the graph does not compute what the model does.
    """
    options = _parser().parse_args(arguments)
    if (Path(options.model) / "recipe.yaml").is_file():
        _of_run(Path(options.model), options)
        return
    if not options.model.startswith(TIMM) or options.model == TIMM:
        raise UserError(
            f"The model {options.model!r} must be named as {TIMM}NAME, as in {TIMM}vit_small_patch14_dinov2, or be the "
            "folder of a run."
        )
    if options.out is None:
        raise UserError("A timm model needs --out, the folder to which its encoder is written.")
    check_writable(options.out.absolute().parent)
    # Imported here, so that --help does not load torch.
    try:
        from onnx_export.timm_encoder import make_encoder
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise UserError(
            "'clustnet encoder' needs timm; install it with: pip install '.[encoders]' in the repository"
        ) from None

    spec = make_encoder(
        options.model.removeprefix(TIMM),
        options.out,
        options.weights,
        options.size,
        options.licence,
        options.trained_on,
    )
    _describe(options.out, spec)


def _of_run(run: Path, options: argparse.Namespace) -> None:
    """Make the encoder of a run."""
    given = [name for name in ("weights", "size", "licence", "trained_on") if getattr(options, name) is not None]
    if given:
        raise UserError(f"--{given[0].replace('_', '-')} is for a timm model; leave it out for a run.")
    # Imported here, so that --help does not load torch.
    from onnx_export.run_encoder import export_encoder

    out = options.out or run / OF_RUN
    check_writable(out.absolute().parent)
    _describe(out, export_encoder(run, out))


def _describe(out: Path, spec: EncoderSpec) -> None:
    """Print what an encoder reads and writes, and what it has seen."""
    print(f"{out}: {spec.name}, {spec.size[0]}x{spec.size[1]} pixels -> {spec.features} features")
    print(f"licence: {spec.licence}; trained on: {spec.trained_on}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet encoder",
        description="Make an encoder from a timm model or a run: a folder with encoder.onnx and encoder.json.",
        epilog="Scores on data that the weights were trained on are too high; say so where you report them.",
    )
    parser.add_argument(
        "model", metavar="timm:NAME|RUN", help="a timm model, as in timm:vit_small_patch14_dinov2, or a finished run"
    )
    parser.add_argument("--out", type=Path, help="the encoder's folder (default for a run: RUN/encoder)")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="a file with its weights (default: timm downloads them)"
    )
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="pixels of both sides (default: the size that the model is made for)"
    )
    parser.add_argument("--licence", help="licence of the weights (default: what timm says)")
    parser.add_argument("--trained-on", help="the data and labels that the weights were trained on")
    return parser
