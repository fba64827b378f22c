"""``clustnet train``: one recipe, one run."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clustnet.files import check_writable
from training.recipe.reading import check_data, parse_overrides, read_recipe
from training.recipe.recipe import BaseRecipe

STAGES = ("pretrain", "cluster")


def main(arguments: Sequence[str]) -> None:
    """Train a recipe, or print it as resolved.

    Raises:
        UserError: the recipe, a key or a folder is wrong.
        KeyboardInterrupt: stopped by the user; its message says how to continue.
    """
    options, overrides = _parser().parse_known_args(arguments)
    keys = parse_overrides(overrides, vars(options).keys() - {"config"})
    if options.seed is not None:
        keys["seed"] = options.seed
    if options.data is not None:
        name, _, path = options.data.partition(":")
        keys |= {"data.name": name, "data.path": path or None}
    recipe = read_recipe(options.config, keys)
    if options.print_config:
        print(recipe.to_yaml(), end="")
        return
    check_data(recipe, None if "data.path" in keys else options.config.parent)
    out = options.out or default_folder(options.config, recipe)
    check_writable(out)
    # Imported here, so that --help and --print_config do not load torch.
    from training.engine.processes import joined

    try:
        with joined():
            _train(recipe, out, options)
    except KeyboardInterrupt as stop:
        # Before the run has started, there is nothing to continue.
        if not stop.args:
            raise
        raise KeyboardInterrupt(f"{stop}; to continue, run the same command with --resume.") from None


def _train(recipe: BaseRecipe, out: Path, options: argparse.Namespace) -> None:
    """Train the recipe as the options say."""
    from training.runs.restarts import train_restarts
    from training.runs.stages import train_stage

    if options.stage is None and options.pretrained is None:
        train_restarts(recipe, out, options.resume)
    else:
        train_stage(recipe, out, options.stage or "cluster", options.pretrained, options.resume)


def default_folder(config: Path, recipe: BaseRecipe) -> Path:
    """Return ``runs/RECIPE_seedS``."""
    return Path("runs") / f"{config.stem}_seed{recipe.seed}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "clustnet train",
        description="Train a recipe on images with coarse labels, and write a run.",
        epilog="Set any key of the recipe with --key.sub VALUE, as in --optimisation.epochs 3.",
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a recipe, such as configs/mnist_soft.yaml")
    parser.add_argument("--seed", type=int, help="replaces the recipe's seed")
    parser.add_argument(
        "--data", metavar="NAME:PATH", help="replaces the recipe's data.name and data.path, as in folder:photos"
    )
    parser.add_argument("--out", type=Path, help="the run folder (default: runs/RECIPE_seedS)")
    parser.add_argument("--resume", action="store_true", help="continue after the last finished epoch")
    parser.add_argument(
        "--stage",
        choices=STAGES,
        help="for deep_clustering: 'pretrain' stops after the pre-training, 'cluster' continues from there",
    )
    parser.add_argument(
        "--pretrained", type=Path, metavar="RUN", help="start from the pre-training of another run of deep_clustering"
    )
    parser.add_argument("--print_config", action="store_true", help="print the resolved recipe and stop")
    return parser
