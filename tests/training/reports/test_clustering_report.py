import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from clustnet.datasets import load
from clustnet.datasets.labelled import UNKNOWN
from clustnet.errors import UserError
from clustnet.scores.scores import clustering_accuracy
from tests.training.deep import deep_recipe
from training.models.autoencoder import Decoder, Encoder
from training.reports.clustering_plots import plot_reconstructions
from training.reports.clustering_report import Trained, describe, rebuild, report
from training.runs.loop import train
from training.runs.run_folder import RunFolder
from training.runs.stages import train_stage

SPACES = ["Image pixels", "Autoencoder", "Autoencoder + KL divergence", "Autoencoder + k-means loss"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Tiny runs of both losses from one pre-training; do not change them."""
    folder = tmp_path_factory.mktemp("runs")
    train(deep_recipe(), folder / "kl")
    train_stage(deep_recipe(clustering={"loss": "kmeans"}), folder / "kmeans", "cluster", folder / "kl")
    return folder / "kl", folder / "kmeans"


@pytest.fixture(scope="module")
def reported(runs: tuple[Path, Path]) -> tuple[Path, list[dict[str, Any]]]:
    out = runs[0].parent / "report"
    return out, report(runs, out)


def scores(found: np.ndarray, truth: np.ndarray) -> list[float]:
    return [
        clustering_accuracy(found, truth),
        normalized_mutual_info_score(truth, found),
        adjusted_rand_score(truth, found),
    ]


def numbers(row: dict[str, Any]) -> list[float]:
    return [row[key] for key in ("accuracy", "nmi", "ari")]


def test_scores_after_a_loss_are_the_runs(runs: tuple[Path, Path], reported: tuple[Path, list[dict[str, Any]]]) -> None:
    rows = {row["space"]: row for row in reported[1]}
    for run, space in zip(runs, SPACES[2:], strict=True):
        last = RunFolder(run).read_scores(4)[-1]
        assert last["split"] == "test"
        assert numbers(rows[space]) == pytest.approx([last["cell_accuracy"], last["nmi"], last["ari"]])


def test_k_means_before_a_loss_predicts_test_images(
    runs: tuple[Path, Path], reported: tuple[Path, list[dict[str, Any]]]
) -> None:
    splits = [load("mnist:train").first(300), load("mnist:test").sample(100)]
    pixels = [torch.from_numpy(split.images.copy())[:, None] / 255 for split in splits]
    encoder = Encoder(deep_recipe().model.architecture)
    weights = RunFolder(runs[0]).load_checkpoint(2)["model"]
    encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")})
    normal = [(part - splits[0].mean[0]) / splits[0].std[0] for part in pixels]
    with torch.no_grad():
        embedded = [encoder(part).numpy() for part in normal]
    for row, (fitted, scored) in zip(
        reported[1], ([part.flatten(1).numpy() for part in pixels], embedded), strict=False
    ):
        found = KMeans(4, n_init=2, random_state=0).fit(fitted).predict(scored)
        assert numbers(row) == pytest.approx(scores(found, splits[1].fine), abs=0.03)


def test_table_has_a_row_per_space_and_seed(reported: tuple[Path, list[dict[str, Any]]]) -> None:
    out, rows = reported
    with (out / "clustering.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["space"] for row in written] == [row["space"] for row in rows] == SPACES
    assert {(row["seed"], row["images"]) for row in written} == {("0", "100")}


def test_several_seeds_are_summed_up() -> None:
    rows = [{"space": "A", "images": 1000, "accuracy": a, "nmi": 0.5, "ari": 0.25} for a in (0.5, 0.7)]
    assert describe(rows).splitlines() == [
        "| clustering space, 1,000 test images | accuracy | NMI | ARI | seeds |",
        "|---|---|---|---|---|",
        "| A | 0.600 ± 0.141 (0.500) | 0.500 ± 0.000 (0.500) | 0.250 ± 0.000 (0.250) | 2 |",
    ]
    assert describe(rows[:1]).endswith("| A | 0.500 | 0.500 | 0.250 | 1 |")


def test_pictures_show_spaces_in_colours_of_classes(
    reported: tuple[Path, list[dict[str, Any]]],
) -> None:
    with Image.open(reported[0] / "spaces.png") as image:
        assert image.format == "PNG"
        hue, saturation, _ = np.moveaxis(np.asarray(image.convert("HSV")), 2, 0)
    panels = np.array_split(np.where(saturation > 100, hue // 16, 255), 5, axis=1)[:4]  # the fifth part is the legend
    assert all(len(np.unique(panel)) >= 6 for panel in panels)
    with Image.open(reported[0] / "reconstructions.png") as image:
        assert image.format == "PNG"
        assert image.width > image.height


def test_image_is_rebuilt_by_encoder_and_decoder(runs: tuple[Path, Path]) -> None:
    from training.reports.clustering_report import _trained

    folder, recipe = RunFolder(runs[0]), deep_recipe()
    images = load("mnist:test").first(3)
    network = _trained(folder, 4)
    assert isinstance(network, Trained)
    state = folder.load_checkpoint(4)
    decoder = Decoder(recipe.model.architecture)
    decoder.load_state_dict(state["decoder"])
    pixels = (torch.from_numpy(images.images.copy())[:, None] / 255 - images.mean[0]) / images.std[0]
    with torch.no_grad():
        expected = decoder(*network.model.encoder.with_places(pixels)).numpy().reshape(3, 28, 28)
    assert np.allclose(rebuild(network, images.images), expected, atol=1e-5)


def test_runs_that_do_not_fit_are_refused(runs: tuple[Path, Path], finished_run: Path, tmp_path: Path) -> None:
    kl, _ = runs
    train(deep_recipe(), tmp_path / "begun", last=2)
    train(deep_recipe(), tmp_path / "stopped", last=3)
    train(deep_recipe(data={"train_images": 200}), tmp_path / "other")
    for paths, sentence in [
        ([finished_run], "has no pre-trained autoencoder; name runs of the method deep_clustering"),
        ([tmp_path / "begun"], "has only been pre-trained"),
        ([tmp_path / "stopped"], "is not finished; go on with 'clustnet train ... --resume'"),
        ([kl, kl], "have the same loss and the same seed"),
        ([kl, tmp_path / "other"], "the same loss and the same seed"),
        ([tmp_path / "absent"], "is not a run"),
    ]:
        with pytest.raises(UserError, match=sentence):
            report(paths, tmp_path / "report")
    train(deep_recipe(data={"train_images": 200}, seed=1), tmp_path / "third")
    with pytest.raises(UserError, match=r"do not fit into one table: data\.train_images was 300 and is now 200"):
        report([kl, tmp_path / "third"], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_estimated_number_of_clusters_holds_everywhere(tmp_path: Path) -> None:
    train(deep_recipe(model={"experts": "auto"}), tmp_path / "run")
    clusters = len(RunFolder(tmp_path / "run").load_checkpoint(4)["model"]["centroids"])
    asked: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "training.reports.clustering_report.KMeans",
            lambda count, **rest: asked.append(count) or KMeans(count, **rest),
        )
        rows = report([tmp_path / "run"], tmp_path / "report")
    assert [row["space"] for row in rows] == SPACES[:3]
    assert asked == [clusters, clusters]


def test_run_that_settled_is_finished(tmp_path: Path) -> None:
    recipe = deep_recipe(clustering={"tolerance": 0.99}, optimisation={"epochs": 5})
    train(recipe, tmp_path / "run")
    assert RunFolder(tmp_path / "run").last_epoch() < 7
    assert len(report([tmp_path / "run"], tmp_path / "report")) == 3


@pytest.mark.parametrize("split", [False, True])
def test_images_without_classes_cannot_be_scored(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: bool
) -> None:
    bare = load("mnist:test").first(100)
    bare = dataclasses.replace(bare, fine=np.full(100, UNKNOWN))
    monkeypatch.setattr(
        "training.reports.clustering_report.load_split", lambda _, name: bare if split or name == "train" else None
    )
    with pytest.raises(UserError, match="There are no test images of known classes to score by; put some into"):
        report(runs[:1], tmp_path / "report")


@pytest.mark.parametrize("colour", [False, True])
def test_black_is_drawn_black(tmp_path: Path, colour: bool) -> None:
    image = np.zeros((8, 8, 3) if colour else (8, 8))
    image[:4] = 1
    plot_reconstructions({"": image[None]}, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as drawn:
        pixels = np.asarray(drawn.convert("L"))
    column = pixels[:, np.flatnonzero((pixels < 10).any(axis=0)).mean().astype(int)]
    dark = np.flatnonzero(column < 10)
    assert (column[dark.min() - len(dark) // 2 : dark.min() - 2] > 245).all()
    assert dark.min() > len(column) / 3
