import base64
import csv
import errno
import io
import json
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from clustnet.bundles.answers import Answers, ModelName
from clustnet.bundles.groups import UNKNOWN, CoarseGrouping
from clustnet.errors import UserError
from clustnet.scores.left_out import left_out
from clustnet.scores.registry import shown, title
from clustnet.scores.tally import scores_of, tally
from evaluation.report.outliers import OUTLIER_SCORES
from evaluation.report.report import check_replaceable, predictions_csv, scores_json, write_report
from tests.evaluation.made_up import GROUPINGS, HALVES, THIRDS, Known, complete, evaluation, info

PLOTS = ("confusion", "confusion_coarse", "failures", "confusion_group_0", "confusion_group_1", "experts", "certainty")
FILES = {"scores.json", "predictions.csv", "report.html", "reliability.png", "reliability_coarse.png"}
FILES |= {f"{name}.png" for name in PLOTS}
REQUESTED = {"outliers.png", "reference_budget.png"}
each_grouping = pytest.mark.parametrize("grouping", GROUPINGS, ids=lambda grouping: str(len(grouping.labels)))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluation.report.figures.DPI", 40)
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
    assert {entry.name for entry in report.iterdir()} == FILES
    assert [entry.name for entry in report.parent.iterdir()] == ["report"]


def test_the_page_needs_no_other_host(report: Path) -> None:
    page = Page((report / "report.html").read_text())
    # There are nine plots, light and dark.
    assert len(page.addresses) == 18
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "default-src 'none'" in (report / "report.html").read_text()


def test_the_page_shows_the_plots_beside_it(report: Path) -> None:
    page = Page((report / "report.html").read_text())
    embedded = {base64.b64decode(address.partition(",")[2]) for address in page.addresses}
    assert {file.read_bytes() for file in report.glob("*.png")} <= embedded


def test_the_page_shows_scores_and_protocol(report: Path) -> None:
    text = " ".join(Page((report / "report.html").read_text()).text.split())
    scores = json.loads((report / "scores.json").read_text())["scores"]
    for key, value in scores.items():
        assert title(key) in text
        assert shown(key, value) in text
    for said in ("made-up 1", "200 of made-up, split test", "the service at http://x", "0-4 = 0, 1, 2, 3, 4"):
        assert said in text


@pytest.mark.usefixtures("quick_plots")
def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    wild = CoarseGrouping(("<b>{0}</b>", '"&'), HALVES.groups)
    made = evaluation(20, grouping=wild)
    made = replace(made, info=replace(made.info, model=ModelName("<script>", "1")))
    write_report(made, tmp_path / "report")
    page = Page((tmp_path / "report" / "report.html").read_text())
    assert "script" not in page.tags
    # The tiles have some of their own.
    assert "b" in page.tags
    assert page.text.count("<b>{0}</b>") >= 3


@pytest.mark.usefixtures("quick_plots")
def test_an_idle_expert_is_named(tmp_path: Path) -> None:
    made = evaluation(20)
    routing = np.tile(np.array([0.9, 0.1], np.float32), (20, 1))
    write_report(replace(made, answers=replace(made.answers, routing=routing)), tmp_path / "report")
    text = " ".join(Page((tmp_path / "report" / "report.html").read_text()).text.split())
    assert "Expert 1 got under 1% of the images, so it finds no class of its own." in text


@pytest.mark.usefixtures("small_plots")
def test_the_same_evaluation_gives_the_same_report(report: Path, tmp_path: Path) -> None:
    write_report(evaluation(200), tmp_path / "again")
    assert all((tmp_path / "again" / name).read_bytes() == (report / name).read_bytes() for name in FILES)


@pytest.mark.usefixtures("quick_plots")
def test_what_was_requested_besides_is_shown(tmp_path: Path) -> None:
    made = complete(evaluation(50), evaluation(30, seed=1))
    assert made.outliers is not None
    assert made.budget is not None
    write_report(made, tmp_path / "report")
    assert {entry.name for entry in (tmp_path / "report").iterdir()} == FILES | REQUESTED
    content = json.loads((tmp_path / "report" / "scores.json").read_text())
    outliers, budget = content["outliers"], content["reference_budget"]
    areas = made.outliers.auroc
    assert outliers == {"data": "made-up", "split": "test", "images": 30, "auroc": areas, "abstained": 0.25}
    rows = [row._asdict() for row in made.budget.rows()]
    assert budget == {"drawn_from": "made-up:train", "draws": 20, "class_accuracy": rows}
    text = " ".join(Page((tmp_path / "report" / "report.html").read_text()).text.split())
    for key, area in areas.items():
        assert f"{OUTLIER_SCORES[key].title}{area:.4f}{OUTLIER_SCORES[key].text}" in text
    assert "Abstained25.00%The share of outliers for which" in text
    for per_class, *shares in made.budget.rows():
        assert "".join([str(per_class), *(f"{share:.2%}" for share in shares)]) in text
    assert "20 draws of each number from made-up:train, seeds 0 to 19" in text
    # An earlier report of more files is replaced as well.
    write_report(evaluation(20), tmp_path / "report")
    assert {entry.name for entry in (tmp_path / "report").iterdir()} == FILES


@each_grouping
@pytest.mark.parametrize("known", ["fine", "coarse", "nothing"])
def test_scores_are_json_without_nan(grouping: CoarseGrouping, known: Known) -> None:
    # One image leaves the other coarse labels without any.
    made = evaluation(1, grouping=grouping, known=known)
    content = json.loads(scores_json(made), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert None not in content["scores"].values()
    assert list(content)[:6] == ["model", "data", "split", "images", "known", "coarse_groups"]
    assert list(content)[6:] == ["scores", "notes", "class_map", "source"]
    assert content["model"] == {"name": "made-up", "version": "1"}
    assert (content["data"], content["split"], content["images"]) == ("made-up", "test", 1)
    groups = zip(grouping.labels, grouping.groups, strict=True)
    assert content["coarse_groups"] == {label: [str(digit) for digit in group] for label, group in groups}
    assert content["known"]["class"] == int(known == "fine")
    assert content["notes"] == list(left_out(made.scores, grouping.labels))


@pytest.mark.usefixtures("quick_plots")
@pytest.mark.parametrize("known", ["coarse", "nothing"])
def test_a_report_without_classes_says_so(tmp_path: Path, known: Known) -> None:
    made = evaluation(60, grouping=THIRDS, known=known)
    write_report(made, tmp_path / "report")
    text = " ".join(Page((tmp_path / "report" / "report.html").read_text()).text.split())
    assert "What is not measured" in text
    for sentence in left_out(made.scores, THIRDS.labels):
        assert sentence in text
    assert "nan" not in text.lower().replace("nano", "")
    assert "Class accuracy of" not in text
    assert not (tmp_path / "report" / "confusion.png").exists()
    assert (tmp_path / "report" / "subtypes.png").exists()


@each_grouping
@pytest.mark.parametrize("known", ["fine", "some"])
def test_scores_follow_from_the_lines(grouping: CoarseGrouping, known: Known) -> None:
    made = evaluation(50, grouping=grouping, known=known)
    lines = list(csv.DictReader(io.StringIO(predictions_csv(made))))
    fine = np.array([int(line["true_class"] or UNKNOWN) for line in lines])
    labels = [*grouping.labels, ""]
    coarse = np.array([labels.index(line["true_coarse"]) for line in lines])
    answers = Answers(
        made.answers.model,
        grouping.labels,
        _columns(lines, "coarse_probability/", grouping.labels) if grouping.divided else np.ones((50, 1), np.float32),
        _columns(lines, "routing/", range(5)),
        _columns(lines, "probability/", range(10)),
        np.array([int(line["guess"]) for line in lines]),
        np.array([line["confidence"] for line in lines], np.float32),
        np.array([line["abstain"] == "1" for line in lines]),
    )
    coarse[coarse == len(grouping.labels)] = UNKNOWN
    assert scores_of(tally(answers, coarse, fine, grouping)) == made.scores
    first = lines[0]
    assert first["image"] == "0"
    assert int(first["expert"]) == made.answers.expert[0]
    assert np.float32(first["guess_probability"]) == made.answers.guess_probability[0]
    assert np.float32(first["coarse_probability"]) == made.answers.coarse_probability[0].max()
    assert first["coarse"] == made.answers.coarse_label[0]


def _columns(lines: list[dict[str, str]], prefix: str, names: Iterable[object]) -> np.ndarray:
    return np.array([[line[f"{prefix}{name}"] for name in names] for line in lines], np.float32)


def test_the_file_is_the_first_column() -> None:
    made = evaluation(3)
    assert predictions_csv(made).startswith("image,")
    files = ("a/1.png", "a/2.png", "b/1.png")
    lines = predictions_csv(replace(made, data=replace(made.data, files=files))).splitlines()
    assert lines[0].startswith("file,image,true_class,")
    assert [line.split(",")[0] for line in lines[1:]] == list(files)


@pytest.mark.usefixtures("quick_plots")
def test_numbered_subtypes_have_no_class_map(tmp_path: Path) -> None:
    class_map = {"kind": "cells", "data": "folder:train", "reference_images": 0}
    made = replace(evaluation(20, known="coarse"), info=replace(info(), class_map=class_map))
    write_report(made, tmp_path / "report")
    assert "each cell in use is a subtype of its own" in (tmp_path / "report" / "report.html").read_text()


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
