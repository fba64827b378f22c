from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.reports.sweep_plot import _ranks, plot_evolution, plot_label_free


def evolution(settings: int, seeds: int, epochs: int) -> list[tuple[str, int, list[dict[str, Any]]]]:
    """Make up runs whose scores rise towards a different height in each setting."""
    return [
        (
            f"learning_rate={0.001 * (setting + 1):g}",
            seed,
            [
                {
                    "epoch": epoch,
                    "split": split,
                    "coarse_accuracy": 1 - 0.5 / (epoch + setting),
                    "label_free/score": 2 - 0.1 * setting - 0.02 * seed,
                    "cell_accuracy": (0.9 - 0.1 * setting) * (1 - 0.5**epoch) - 0.02 * seed,
                }
                for epoch in range(1, epochs + 1)
                for split in ("train", "test")
            ],
        )
        for setting in range(settings)
        for seed in range(seeds)
    ]


def test_plot_is_png_of_some_size(tmp_path: Path) -> None:
    plot_evolution(evolution(2, 3, 6), tmp_path / "evolution.png")
    with Image.open(tmp_path / "evolution.png") as image:
        image.load()
        assert image.format == "PNG"
        assert min(image.size) >= 400


def test_every_setting_has_its_own_colour(tmp_path: Path) -> None:
    seen = []
    for settings in (1, 3, 12):
        plot_evolution(evolution(settings, 1, 4), tmp_path / "evolution.png")
        with Image.open(tmp_path / "evolution.png") as image:
            hue, saturation, _ = np.moveaxis(np.asarray(image.convert("HSV")), 2, 0)
        seen.append(len(np.unique(hue[saturation > 100] // 16)))
    assert seen[0] < seen[1] < seen[2]


def test_single_epoch_and_many_settings_can_be_drawn(tmp_path: Path) -> None:
    plot_evolution(evolution(12, 2, 1), tmp_path / "evolution.png")
    assert (tmp_path / "evolution.png").stat().st_size > 1000


def test_label_free_scores_are_drawn_against_accuracy(tmp_path: Path) -> None:
    plot_label_free(evolution(3, 3, 2), tmp_path / "label_free.png")
    with Image.open(tmp_path / "label_free.png") as image:
        hue, saturation, _ = np.moveaxis(np.asarray(image.convert("HSV")), 2, 0)
    assert len(np.unique(hue[saturation > 100] // 16)) >= 3


def test_title_says_how_alike_rankings_are() -> None:
    runs = evolution(3, 1, 2)
    assert _ranks(runs, "cell_accuracy") == "3 runs (numbers: seeds), Spearman's rank correlation 1.00"
    runs[0][2][-1]["cell_accuracy"] = 0.0
    assert _ranks(runs, "cell_accuracy").endswith("-0.50")
    assert _ranks(runs[:1], "cell_accuracy") == "1 runs (numbers: seeds)"
