import json
import subprocess
import sys
from pathlib import Path

import pytest

from clustnet.cli import DONE, WRONG_INPUT, main
from tests.evaluation.stub import Reply, Stub
from tests.synthetic import write_bundle


def evaluate(*arguments: object, data: str = "mnist:test") -> int:
    return main(["evaluate", "--data", data, *map(str, arguments)])


def test_a_bundle_and_its_service_score_the_same_to_the_last_digit(
    synthetic_bundle: Path, stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = ("--limit", 1000)
    assert evaluate("--bundle", synthetic_bundle, "--out", tmp_path / "bundle", *limit) == DONE
    first = capsys.readouterr().out
    assert evaluate("--url", stub.url, "--out", tmp_path / "url", *limit) == DONE
    second = capsys.readouterr().out
    assert first.replace("/bundle/", "/url/") == second
    bundle, url = tmp_path / "bundle", tmp_path / "url"
    for file in bundle.iterdir():
        if file.name not in ("scores.json", "report.html"):
            assert file.read_bytes() == (url / file.name).read_bytes(), file.name
    ours, theirs = ((folder / "scores.json").read_text() for folder in (bundle, url))
    assert ours.partition('  "source"')[0] == theirs.partition('  "source"')[0]
    assert json.loads(ours)["source"]["bundle"] == str(synthetic_bundle)
    assert json.loads(theirs)["source"] == {"url": stub.url}
    assert stub.batches == [256, 256, 256, 232]


@pytest.mark.usefixtures("quick_plots")
def test_the_order_of_coarse_labels_does_not_matter(stub: Stub, tmp_path: Path) -> None:
    """A service does not say which label is the positive one."""
    groups = [[5, 6, 7, 8, 9], [0, 1, 2, 3, 4]]
    folder = write_bundle(tmp_path / "turned", coarse_labels=["5-9", "0-4"], coarse_groups=groups)
    stub.predictor = type(stub.predictor)(type(stub.predictor.bundle)(folder), "cpu")
    for way, place in (("--bundle", folder), ("--url", stub.url)):
        assert evaluate(way, place, "--out", tmp_path / way, "--limit", 300) == DONE
    ours, theirs = (json.loads((tmp_path / way / "scores.json").read_text()) for way in ("--bundle", "--url"))
    del ours["source"], theirs["source"]
    assert json.dumps(ours) == json.dumps(theirs)
    assert list(ours["coarse_groups"]) == ["0-4", "5-9"]


@pytest.mark.usefixtures("quick_plots")
def test_groups_may_be_named_for_a_service(stub: Stub, tmp_path: Path) -> None:
    groups = "0-4=0,1,2,3,4;5-9=5,6,7,8,9"
    for name, more in (("told", ["--coarse", groups]), ("derived", [])):
        assert evaluate("--url", stub.url, "--out", tmp_path / name, "--limit", 300, *more) == DONE
    told, derived = ((tmp_path / name / "scores.json").read_bytes() for name in ("told", "derived"))
    assert told == derived


@pytest.mark.usefixtures("quick_plots")
def test_scores_are_printed_and_progress_kept_apart(
    synthetic_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--bundle", synthetic_bundle, "--out", tmp_path / "report", "--limit", 300) == DONE
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "synthetic 1 on 300 images of mnist:test"
    assert lines[1].split()[:2] == ["Class", "accuracy"]
    assert lines[-1] == f"report: {tmp_path / 'report' / 'report.html'}"
    assert shown.err.splitlines() == ["256 of 300 images", "300 of 300 images"]


def test_a_refused_folder_costs_no_work(
    synthetic_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").touch()
    assert evaluate("--bundle", synthetic_bundle, "--out", tmp_path) == WRONG_INPUT
    error = capsys.readouterr().err
    assert error.startswith(f"clustnet: {tmp_path} is not an earlier report")
    assert error.count("\n") == 1


def test_a_failing_service_leaves_no_folder(stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stub.instead = [Reply(500, '{"error": "Out of memory."}')]
    assert evaluate("--url", stub.url, "--out", tmp_path / "report") == WRONG_INPUT
    message = (
        f"clustnet: The service at {stub.url} answered POST /predict with 500 Internal Server Error: Out of memory.\n"
    )
    assert capsys.readouterr().err == message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "said"),
    [("mnist", "must read NAME:SPLIT"), ("moons:test", "There is no data set 'moons'")],
)
def test_wrong_data_is_named(
    synthetic_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str, said: str
) -> None:
    done = evaluate("--bundle", synthetic_bundle, "--out", tmp_path / "report", data=data)
    assert (done, said in capsys.readouterr().err) == (WRONG_INPUT, True)


def test_data_of_other_classes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_bundle(tmp_path / "letters", fine_classes=list("ABCDEFGHIJ"))
    assert evaluate("--bundle", folder, "--out", tmp_path / "report") == WRONG_INPUT
    assert "knows the classes A, B, C, D, E, F, G, H, I, J, but mnist has 0, 1" in capsys.readouterr().err


def test_groups_go_with_a_service_only(
    synthetic_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = evaluate("--bundle", synthetic_bundle, "--out", tmp_path / "report", "--coarse", "a=0")
    assert done == WRONG_INPUT
    assert "--coarse goes with --url" in capsys.readouterr().err


@pytest.mark.usefixtures("quick_plots")
def test_outliers_and_reference_budget_are_reported(
    synthetic_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--outliers", "mnist:test", "--reference-budget", "2,1", "--limit", 300)
    assert evaluate("--bundle", synthetic_bundle, "--out", tmp_path / "report", *more) == DONE
    shown = capsys.readouterr()
    assert "AUROC against 300 outliers of mnist:test" in shown.out
    assert "Class accuracy by labelled images of each class, 20 draws from mnist:train" in shown.out
    assert "300 of 300 outliers" in shown.err
    content = json.loads((tmp_path / "report" / "scores.json").read_text())
    areas = content["outliers"]["auroc"]
    assert areas == pytest.approx(dict.fromkeys(areas, 0.5))  # the same images
    assert [row["per_class"] for row in content["reference_budget"]["class_accuracy"]] == [1, 2]


@pytest.mark.usefixtures("quick_plots")
def test_a_service_tells_outliers_apart_as_its_bundle_does(synthetic_bundle: Path, stub: Stub, tmp_path: Path) -> None:
    more = ("--outliers", "mnist:train", "--limit", 300)
    for way, place in (("--bundle", synthetic_bundle), ("--url", stub.url)):
        assert evaluate(way, place, "--out", tmp_path / way, *more) == DONE
    ours, theirs = (json.loads((tmp_path / way / "scores.json").read_text()) for way in ("--bundle", "--url"))
    assert ours["outliers"] == theirs["outliers"]
    assert 0 < ours["outliers"]["auroc"]["guess"] < 1


@pytest.mark.parametrize(
    ("source", "data", "budget", "said"),
    [
        ("--url", "mnist:test", "1", "--reference-budget goes with --bundle; a service does not tell"),
        ("--bundle", "mnist:train", "1", "scores the test split; end --data with ':test'."),
        (
            "--bundle",
            "mnist:test",
            "5,6000",
            "asks for 6,000 images of each class, but the training split of mnist has",
        ),
    ],
)
def test_a_reference_budget_that_cannot_be_had_costs_no_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, data: str, budget: str, said: str
) -> None:
    done = evaluate(source, "http://x", "--out", tmp_path / "report", "--reference-budget", budget, data=data)
    error = capsys.readouterr().err
    assert (done, said in error, error.count("\n")) == (WRONG_INPUT, True, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of the arguments --bundle --url is required"),
        (["--bundle", "a", "--url", "b"], "not allowed with argument"),
        (["--bundle", "a", "--limit", "0"], "'0' is not a whole number of at least 1"),
        (["--bundle", "a", "--limit", "few"], "'few' is not a whole number of at least 1"),
        (["--bundle", "a", "--reference-budget", "5,0"], "'0' is not a whole number of at least 1"),
        (["--bundle", "a", "--reference-budget", "5,"], "'' is not a whole number of at least 1"),
        (["--bundle", "a", "--reference-budget", "many"], "'many' is not a whole number of at least 1"),
    ],
)
def test_wrong_usage_exits_with_two(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluate("--out", "report", *arguments)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_help_loads_nothing_heavy(command: str) -> None:
    code = f"""
import sys
from clustnet.cli import main
try:
    main([{command!r}, "--help"])
except SystemExit as done:
    print(done.code, *sorted(sys.modules))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    help_text, _, modules = shown.rpartition("\n0 ")
    assert help_text.startswith(f"usage: clustnet {command}")
    assert not {"onnxruntime", "matplotlib", "scipy", "sklearn", "httpx", "PIL"} & set(modules.split())


@pytest.mark.usefixtures("quick_plots")
def test_the_key_comes_from_the_environment(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTNET_API_KEY", "secret\n")
    assert evaluate("--url", stub.url, "--out", tmp_path / "report", "--limit", 300) == DONE
    assert set(stub.keys) == {"secret"}
    assert not any("secret" in path.read_text() for path in tmp_path.rglob("*.[jh]*"))
