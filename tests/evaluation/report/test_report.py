import base64
import csv
import errno
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from clustnet.bundles.answers import Model
from clustnet.bundles.groups import CoarseGrouping
from clustnet.errors import UserError
from clustnet.scores.meanings import meaning, shown
from evaluation.report.outliers import OUTLIER_SCORES
from evaluation.report.report import FILES, check_replaceable, predictions_csv, scores_json, write_report
from evaluation.report.scoring import score
from tests.evaluation.made_up import HALVES, answers_from, complete, evaluation

ASKED_FOR = {"outliers.png", "reference_budget.png"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "report"
    write_report(evaluation(200), folder)
    return folder


class Page(HTMLParser):
    """The tags, addresses and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "srcset", "href") and v is not None]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_is_exactly_its_files(report: Path) -> None:
    assert {entry.name for entry in report.iterdir()} == FILES - ASKED_FOR
    assert [entry.name for entry in report.parent.iterdir()] == ["report"]


def test_the_page_needs_no_other_host_and_no_script(report: Path) -> None:
    page = Page((report / "report.html").read_text())
    assert len(page.addresses) == 16  # eight plots, light and dark
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_the_page_shows_the_plots_that_lie_beside_it(report: Path) -> None:
    page = Page((report / "report.html").read_text())
    embedded = {base64.b64decode(address.partition(",")[2]) for address in page.addresses}
    assert {file.read_bytes() for file in report.glob("*.png")} <= embedded


def test_the_page_tells_scores_and_protocol(report: Path) -> None:
    text = " ".join(Page((report / "report.html").read_text()).text.split())
    scores = json.loads((report / "scores.json").read_text())["scores"]
    for key, value in scores.items():
        assert f"{meaning(key).title}" in text
        assert shown(key, value) in text
    for said in ("made-up 1", "200 of made-up, split test", "the service at http://x", "0-4 = 0, 1, 2, 3, 4"):
        assert said in text


@pytest.mark.usefixtures("quick_plots")
def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    wild = CoarseGrouping(("<b>{0}</b>", '"&'), HALVES.groups)
    made = evaluation(20, grouping=wild)
    made = replace(made, answers=replace(made.answers, model=Model("<script>", "1")))
    write_report(made, tmp_path / "report")
    page = Page((tmp_path / "report" / "report.html").read_text())
    assert "script" not in page.tags
    assert "b" in page.tags  # the tiles' own
    assert page.text.count("<b>{0}</b>") >= 3


@pytest.mark.usefixtures("quick_plots")
def test_an_idle_expert_is_told(tmp_path: Path) -> None:
    made = evaluation(20)
    routing = np.tile(np.array([0.9, 0.1], np.float32), (20, 1))
    answers = replace(made.answers, routing=routing)
    scores = score(answers, made.data.labels, made.grouping)
    write_report(replace(made, answers=answers, scores=scores), tmp_path / "report")
    text = " ".join(Page((tmp_path / "report" / "report.html").read_text()).text.split())
    assert "Expert 1 got under 1% of the images, so it finds no class of its own." in text


def test_the_same_evaluation_gives_the_same_report(report: Path, tmp_path: Path) -> None:
    write_report(evaluation(200), tmp_path / "again")
    assert all((tmp_path / "again" / name).read_bytes() == (report / name).read_bytes() for name in FILES - ASKED_FOR)


@pytest.mark.usefixtures("quick_plots")
def test_what_was_asked_for_beside_the_scores_is_told(tmp_path: Path) -> None:
    made = complete(evaluation(50), evaluation(30, seed=1))
    assert made.outliers is not None
    assert made.budget is not None
    write_report(made, tmp_path / "report")
    assert {entry.name for entry in (tmp_path / "report").iterdir()} == FILES
    content = json.loads((tmp_path / "report" / "scores.json").read_text())
    outliers, budget = content["outliers"], content["reference_budget"]
    areas = made.outliers.auroc
    assert outliers == {"data": "made-up", "split": "test", "images": 30, "auroc": areas, "abstained": 0.25}
    assert budget == {"drawn_from": "made-up:train", "draws": 20, "class_accuracy": made.budget.rows()}
    text = " ".join(Page((tmp_path / "report" / "report.html").read_text()).text.split())
    for key, area in areas.items():
        assert f"{OUTLIER_SCORES[key].title}{area:.4f}{OUTLIER_SCORES[key].text}" in text
    assert "Abstained25.00%Outliers for which" in text
    for row in made.budget.rows():
        cells = [f"{row[key]:.2%}" for key in ("mean", "sd", "min", "max")]
        assert "".join([str(row["per_class"]), *cells]) in text
    assert "20 draws of each number from made-up:train, seeds 0 to 19" in text
    write_report(evaluation(20), tmp_path / "report")  # an earlier report of more files is replaced as well
    assert {entry.name for entry in (tmp_path / "report").iterdir()} == FILES - ASKED_FOR


def test_scores_are_json_that_every_reader_takes() -> None:
    made = evaluation(1)  # one image leaves the other group without any
    text = scores_json(made)
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert None in content["scores"].values()
    assert list(content) == ["model", "data", "split", "images", "coarse_groups", "scores", "source"]
    assert content["model"] == {"name": "made-up", "version": "1"}
    assert (content["data"], content["split"], content["images"]) == ("made-up", "test", 1)
    assert content["coarse_groups"] == {"0-4": list("01234"), "5-9": list("56789")}


def test_every_score_can_be_computed_from_the_lines_of_the_images() -> None:
    made = evaluation(50)
    lines = list(csv.DictReader(io.StringIO(predictions_csv(made))))
    labels = np.array([int(line["true_class"]) for line in lines])
    routing = np.array([[float(line[f"routing/{e}"]) for e in range(5)] for line in lines])
    classes = np.array([[float(line[f"probability/{c}"]) for c in range(10)] for line in lines])
    answers = answers_from(labels, routing, classes)
    answers = replace(answers, coarse_label=np.array([line["coarse"] for line in lines]))
    answers = replace(answers, abstain=np.array([line["abstain"] == "1" for line in lines]))
    assert score(answers, labels, HALVES) == made.scores
    first = lines[0]
    assert first["image"] == "0"
    assert int(first["expert"]) == made.answers.expert[0]
    assert int(first["guess"]) == made.answers.guess[0]
    assert np.float32(first["guess_probability"]) == made.answers.guess_probability[0]
    assert np.float32(first["confidence"]) == made.answers.confidence[0]
    assert np.float32(first["coarse_probability"]) == made.answers.coarse_probability[0]
    assert first["true_coarse"] == ("5-9" if labels[0] > 4 else "0-4")


@pytest.mark.usefixtures("quick_plots")
def test_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    write_report(evaluation(10), tmp_path / "report")
    write_report(evaluation(20), tmp_path / "report")
    assert json.loads((tmp_path / "report" / "scores.json").read_text())["images"] == 20


@pytest.mark.usefixtures("quick_plots")
def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    write_report(evaluation(10), tmp_path / "report")
    assert (tmp_path / "report" / "report.html").is_file()


def test_anything_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "scores.json").touch()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"not an earlier report, as it holds thesis\.tex, .*name a new"):
        write_report(evaluation(10), tmp_path)
    with pytest.raises(UserError, match=r"thesis\.tex is a file, not a folder"):
        check_replaceable(tmp_path / "thesis.tex")
    with pytest.raises(UserError, match=r"thesis\.tex is a file, not a folder"):
        check_replaceable(tmp_path / "thesis.tex" / "deep" / "report")
    assert {entry.name for entry in tmp_path.iterdir()} == {"scores.json", "thesis.tex"}


@pytest.mark.usefixtures("quick_plots")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("evaluation.report.report.predictions_csv", full_disk)
    with pytest.raises(UserError, match=r"cannot be written to .*report \(No space left on device\); name"):
        write_report(evaluation(10), tmp_path / "report")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("quick_plots")
def test_a_failure_leaves_the_earlier_report(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (report / "report.html").read_bytes()
    monkeypatch.setattr("evaluation.report.report._page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(evaluation(10), report)
    assert (report / "report.html").read_bytes() == before
    assert [entry.name for entry in report.parent.iterdir()] == ["report"]


def test_the_template_ships_with_the_package() -> None:
    template = Path(__file__).resolve().parents[3] / "evaluation" / "templates" / "report.html"
    assert re.search(r"default-src 'none'", template.read_text())
