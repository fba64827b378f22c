import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clustnet import cli
from clustnet.errors import UserError
from tests.training.tiny import tiny_recipe, tiny_words
from training.commands.sweep import format_table, parse_seeds, plan, write_tables
from training.reports.sweep_plot import plot_evolution, plot_label_free
from training.runs.run_folder import RunFolder

SCORES = ("coarse_accuracy", "class_accuracy", "purity", "cell_accuracy", "nmi", "ari", "label_free/score")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(tiny_recipe().to_yaml())
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0..4", [0, 1, 2, 3, 4]), ("3..3", [3]), ("0,3,7", [0, 3, 7]), ("5", [5]), ("1,1,0", [1, 0])],
)
def test_seeds_are_range_or_list(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "0..", "..3", "4..0", "0...3", "1,,2", "0..2..4", "1.5"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"must read FIRST..LAST, as in 0..4, or be listed, as in 0,3,7\.$"):
        parse_seeds(text)


def test_plan_is_grid_of_values_and_seeds(config: Path) -> None:
    overrides = {"optimisation.learning_rate": "0.01,1e-3", "routing": "soft,hard", "model.embedding": 9}
    members = plan(config, [0, 5], overrides)
    assert [(name, seed) for name, seed, _ in members] == [
        (f"learning_rate={rate}_routing={routing}", seed)
        for rate in ("0.01", "1e-3")
        for routing in ("soft", "hard")
        for seed in (0, 5)
    ]
    recipe = members[-1][2]
    assert (recipe.optimisation.learning_rate, recipe.routing, recipe.seed) == (1e-3, "hard", 5)
    assert recipe.model.embedding == 9


def test_plan_without_grid_is_named_by_recipe(config: Path) -> None:
    assert [name for name, _, _ in plan(config, [1], {"routing": "hard"})] == ["tiny"]


def test_value_that_is_given_twice_is_trained_once(config: Path) -> None:
    assert len(plan(config, [1], {"model.experts": "3,3,4"})) == 2


def test_list_without_brackets_is_one_value(config: Path) -> None:
    ((name, _, recipe),) = plan(config, [1], {"model.channels": "4,8"})
    assert (name, recipe.model.channels) == ("tiny", (4, 8))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"seed": 3}, "The seeds of a sweep are set with --seeds"),
        ({"model.experts": "2,0"}, "model.experts is 0, but should be"),
        ({"model.experts": "2,]"}, "The value of --model.experts is not YAML"),
    ],
)
def test_wrong_member_is_refused_before_any_is_trained(config: Path, overrides: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        plan(config, [1], overrides)


def rows(generator: np.random.Generator, epochs: int, experts: int) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "split": split, "train_seconds": 1.5}
        | {score: float(generator.random()) for score in SCORES}
        | {f"expert_load/{e}": 1 / experts for e in range(experts)}
        for epoch in range(1, epochs + 1)
        for split in ("train", "test")
    ]


def test_tables_hold_last_scores_and_their_statistics(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    runs = [(name, seed, rows(generator, 2, experts)) for name, experts in (("a", 5), ("b", 3)) for seed in range(4)]
    shown = write_tables(tmp_path, runs, [1.0, 2.0, 4.0, 5.0] * 2)
    members, summary = table(tmp_path / "members.csv"), table(tmp_path / "summary.csv")
    assert [(member["setting"], member["seed"]) for member in members] == [(n, str(s)) for n, s, _ in runs]
    assert [line["setting"] for line in summary] == ["a", "b"]
    for line in summary:
        group = [scores[-1] for name, _, scores in runs if name == line["setting"]]
        for score in SCORES:
            values = np.array([row[score] for row in group])
            told = [float(line[score + suffix]) for suffix in ("", "_sd", "_worst")]
            assert told == pytest.approx([np.mean(values), np.std(values, ddof=1), np.min(values)])
            assert f"{np.mean(values):.4f}" in shown
        assert (line["seeds"], float(line["seconds"])) == ("4", 3.0)


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
def test_other_numbers_of_experts_share_one_table(tmp_path: Path, order: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    write_tables(tmp_path, [(f"experts={e}", 0, rows(generator, 1, e)) for e in order], [1.0, 1.0])
    loads = {member["setting"]: member["expert_load/2"] for member in table(tmp_path / "members.csv")}
    assert loads == {"experts=2": "", "experts=3": str(1 / 3)}


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    write_tables(tmp_path, [("a", 0, rows(np.random.default_rng(0), 1, 2))], [1.0])
    assert table(tmp_path / "summary.csv")[0]["nmi_sd"] == ""


def test_one_coarse_label_has_no_coarse_accuracy(tmp_path: Path) -> None:
    plain = rows(np.random.default_rng(0), 2, 2)
    whole = [{key: value for key, value in row.items() if key != "coarse_accuracy"} for row in plain]
    assert "coarse_accuracy" not in write_tables(tmp_path, [("a", 0, whole), ("a", 1, whole)], [1.0, 1.0])
    write_tables(tmp_path, [("a", 0, plain), ("b", 0, whole)], [1.0, 1.0])
    shown = [line["coarse_accuracy"] for line in table(tmp_path / "summary.csv")]
    assert shown == [str(plain[-1]["coarse_accuracy"]), ""]
    plot_evolution([("a", 0, whole)], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_runs_without_fine_classes_have_no_plots(tmp_path: Path) -> None:
    bare = [{"epoch": 1, "split": "train", "train_seconds": 1.0, "label_free/score": 1.0}]
    assert "nmi" not in write_tables(tmp_path, [("a", 0, bare)], [1.0])
    for plot in (plot_evolution, plot_label_free):
        assert not plot([("a", 0, bare)], tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()


def test_table_lines_up() -> None:
    text = format_table([{"setting": "a", "nmi": 0.5}, {"setting": "longer one", "nmi": 0.25}])
    assert text.splitlines() == ["setting     nmi", "a           0.5000", "longer one  0.2500"]


def test_sweep_end_to_end_and_again(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "sweep"
    words = ["sweep", str(config), "--seeds", "0..1", "--out", str(out), *tiny_words(), "--model.experts", "2,3"]
    words += ["--optimisation.epochs", "1"]
    assert cli.main(words) == cli.DONE
    first = capsys.readouterr().out
    assert "[4/4] experts=3 seed 1\n" in first
    assert {entry.name for entry in out.iterdir()} == {
        *(f"experts={e}_seed{seed}" for e in (2, 3) for seed in (0, 1)),
        "members.csv",
        "summary.csv",
        "evolution.png",
        "label_free.png",
    }
    with Image.open(out / "evolution.png") as image:
        image.load()
        assert image.format == "PNG"
        assert image.width > image.height > 300
    member = table(out / "members.csv")[-1]
    final = RunFolder(out / "experts=3_seed1").read_scores(1)[-1]
    assert float(member["cell_accuracy"]) == final["cell_accuracy"]

    members = (out / "members.csv").read_bytes()
    monkeypatch.setattr("training.methods.clustnet.method.ClustNetMethod._epoch", None)  # training again would fail
    assert cli.main(words) == cli.DONE
    assert capsys.readouterr().out.splitlines()[-4:] == first.splitlines()[-4:]
    assert (out / "members.csv").read_bytes() == members


def test_seconds_are_those_of_all_restarts(config: Path, tmp_path: Path) -> None:
    words = ["sweep", str(config), "--seeds", "0", "--out", str(tmp_path), "--restarts", "2"]
    assert cli.main(words) == cli.DONE
    for number, taken in enumerate((100.0, 20.0)):
        folder = RunFolder(tmp_path / "tiny_seed0" / f"restart_{number}")
        scores = folder.read_scores(2)
        folder.write_scores([row | {"train_seconds": taken} for row in scores])
    assert cli.main(words) == cli.DONE  # reads what is finished
    assert table(tmp_path / "members.csv")[0]["seconds"] == "240.0"
    assert table(tmp_path / "summary.csv")[0]["seconds"] == "240.0"


def test_ctrl_c_says_that_same_command_goes_on(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    words = ["sweep", str(config), "--seeds", "0", "--out", str(tmp_path / "sweep")]
    monkeypatch.setattr("training.runs.loop.load_split", interrupt)
    assert cli.main(words) == cli.FAILED
    assert capsys.readouterr().err == "\nclustnet: stopped. The same command continues.\n"
    monkeypatch.undo()
    monkeypatch.setattr("training.methods.clustnet.method.ClustNetMethod._epoch", interrupt)
    assert cli.main(words) == cli.FAILED
    told = f"\nclustnet: stopped. 0 of 2 epochs are safe in {tmp_path}/sweep/tiny_seed0; the same command continues.\n"
    assert capsys.readouterr().err == told
    monkeypatch.undo()
    assert cli.main(words) == cli.DONE


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "/proc/none/sweep"], "/proc/none/sweep cannot be written, as /proc cannot"),
        (["--data.path", "absent"], "data.path is absent, but there is no such file or folder in the working dir"),
    ],
)
def test_what_must_fail_costs_no_work(
    config: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sweep", str(config), *words]) == cli.WRONG_INPUT
    assert sentence in capsys.readouterr().err
