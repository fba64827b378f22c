"""``clustnet grow``: a network that learns a hierarchy of labels, one node at a time."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from clustnet.errors import UserError
from clustnet.files import check_writable
from training.grow.config import Mode, read_grow_recipe
from training.recipe.reading import parse_overrides


def main(arguments: Sequence[str]) -> None:
    """Learn the nodes of a recipe, or print it as resolved.

    Raises:
        UserError: the recipe, a key or a folder is wrong, or images cannot be used.
        KeyboardInterrupt: stopped by the user; its message says how to continue.
    """
    options, overrides = _parser().parse_known_args(arguments)
    keys = parse_overrides(overrides, vars(options).keys() - {"config"})
    given = {
        "seed": options.seed,
        "data.path": options.data,
        "mode": options.mode,
        "network.encoder": options.encoder,
        "begin": options.begin,
    }
    keys |= {key: str(value) if isinstance(value, Path) else value for key, value in given.items() if value is not None}
    recipe = read_grow_recipe(options.config, keys)
    if options.print_config:
        print(recipe.to_yaml(), end="")
        return
    if not recipe.data.path.exists():
        raise UserError(f"There is no folder or file {recipe.data.path}; name the images with --data.")
    out = options.out or Path("runs") / f"{options.config.stem}_{recipe.mode}_seed{recipe.seed}"
    check_writable(out)
    # Imported here, so that --help does not load torch.
    from training.grow.growing import grow

    try:
        grow(recipe, out, options.resume)
    except KeyboardInterrupt as stop:
        if not stop.args:
            raise
        raise KeyboardInterrupt(f"{stop}; to continue, run the same command with --resume.") from None
    print(f"next:  clustnet export {out} --out models/{out.name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet grow",
        description="Learn a hierarchy of labels with one module per node, and measure what is forgotten.",
        epilog="Set any key of the recipe with --key.sub VALUE, as in --optimisation.epochs 3.",
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a recipe, such as configs/grow/tiny_imagenet.yaml")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="IMAGES",
        help="replaces data.path: nested class folders, a table, or a run of 'clustnet discover'",
    )
    parser.add_argument("--mode", choices=get_args(Mode), help="replaces the recipe's mode")
    parser.add_argument(
        "--from", dest="encoder", metavar="ENCODER", help="use a frozen encoder such as lite0 as the stem"
    )
    parser.add_argument("--begin", type=Path, metavar="RUN", help="start from the network of another run")
    parser.add_argument("--seed", type=int, help="replaces the recipe's seed")
    parser.add_argument("--out", type=Path, help="the run folder (default: runs/RECIPE_MODE_seedS)")
    parser.add_argument("--resume", action="store_true", help="continue after the last finished epoch")
    parser.add_argument("--print_config", action="store_true", help="print the resolved recipe and stop")
    return parser
