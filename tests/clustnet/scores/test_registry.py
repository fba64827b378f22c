import re
from pathlib import Path

import pytest

from clustnet.scores.left_out import EVALUATED, left_out, partly_known
from clustnet.scores.registry import DEFINITIONS, ScoreDefinition, definition, shown, title
from tests.evaluation.made_up import GROUPINGS, HALVES, Known, evaluation

LABELS = HALVES.labels
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("grouping", GROUPINGS, ids=lambda grouping: str(len(grouping.labels)))
@pytest.mark.parametrize("known", ["fine", "coarse", "nothing", "some"])
def test_every_score_has_a_definition(known: Known, grouping: object) -> None:
    for key in evaluation(grouping=grouping, known=known).scores:  # type: ignore[arg-type]
        assert definition(key).needs in ("fine", "coarse", "nothing")


@pytest.mark.parametrize("score", DEFINITIONS, ids=lambda score: score.name)
def test_a_definition_says_all_in_sentences(score: ScoreDefinition) -> None:
    assert score.meaning[0].isupper()
    assert score.meaning.endswith(".")
    assert score.protocol
    assert definition(score.name) is score
    if isinstance(score.formula, str):
        assert _exists(score.formula)


def _exists(path: str) -> bool:
    """Whether a dotted path names something in the repository; nothing is imported, as that takes seconds."""
    parts = path.split(".")
    files = {place: REPOSITORY.joinpath(*parts[:place]).with_suffix(".py") for place in range(1, len(parts))}
    place = next(place for place, file in files.items() if file.is_file())
    text = files[place].read_text()
    return all(re.search(rf"(def|class) {name}\b", text) for name in parts[place:])


def test_names_are_unique() -> None:
    assert len({score.name for score in DEFINITIONS}) == len({score.title for score in DEFINITIONS}) == len(DEFINITIONS)
    with pytest.raises(KeyError):
        definition("binary_accuracy")


def test_titles_and_values_as_a_person_reads_them() -> None:
    assert title("expert_load/3") == "Load of expert 3"
    assert title("group_accuracy/a/{}") == "Group accuracy a/{}"
    assert title("label_free/score") == "Label-free score"
    assert (shown("class_accuracy", 0.12345), shown("nmi", 0.12345)) == ("12.35%", "0.1235")
    assert shown("cells_in_use", 23.0) == "23"


def test_nothing_is_left_out_of_complete_scores() -> None:
    assert list(left_out(evaluation(200).scores, LABELS)) == []


def test_what_is_left_out_has_its_reason() -> None:
    assert list(left_out(evaluation(known="coarse").scores, LABELS)) == [
        "Class accuracy, group accuracy, cell accuracy, purity, NMI, ARI, negative log-likelihood and calibration "
        "error are left out, because no image has a known true class."
    ]
    coarse, fine = left_out(evaluation(known="nothing").scores, LABELS)
    assert coarse == (
        "Coarse accuracy and coarse calibration error are left out, because no image has a known true coarse label."
    )
    assert fine.startswith("Class accuracy, group accuracy")
    (whole,) = left_out(evaluation(grouping=GROUPINGS[0]).scores, ("all",))
    assert whole == (
        "Coarse accuracy, group accuracy and coarse calibration error are left out, because there is only "
        "one coarse label."
    )


def test_a_group_without_images_is_named() -> None:
    scores = {name: 0.5 for name in EVALUATED if "/" not in name} | {"group_accuracy/0-4": 0.5}
    assert list(left_out(scores, LABELS)) == [
        "Group accuracy 5-9 is left out, because no image of this coarse label has a known true class."
    ]


def test_partly_known_truth_is_counted() -> None:
    assert partly_known(1200, 3000, "class") == (
        "Scores that need the true class count the 1,200 of 3,000 images for which it is known."
    )
    assert partly_known(0, 30, "class") is None
    assert partly_known(30, 30, "class") is None
