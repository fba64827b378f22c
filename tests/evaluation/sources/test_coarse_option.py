import pytest

from clustnet.bundles.groups import CoarseGrouping
from clustnet.errors import UserError
from evaluation.sources.coarse_option import by_first_class, grouping_from_labels, parse_coarse

ANIMALS = ("cat", "dog", "car", "ship")


def test_groups_are_read_by_class_name() -> None:
    assert parse_coarse(" alive = dog, cat ; made=car,ship", ANIMALS) == CoarseGrouping(
        ("alive", "made"), ((1, 0), (2, 3))
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alive", "The groups 'alive' must read --coarse 'LABEL=CLASS"),
        ("alive=cat,dog;made", "must read --coarse 'LABEL=CLASS"),
        ("alive=cat,dog;made=car,plane", "names the class 'plane'; the data has cat, dog, car, ship"),
        ("alive=cat;made=car,ship", r"each class from 0 to 3 once, but it lists \[0, 2, 3\]"),
        ("alive=cat,dog,car,ship", "exactly two groups"),
        ("a=cat,dog;a=car,ship", "exactly two groups"),
    ],
)
def test_groups_that_cannot_be_read_say_why(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_coarse(text, ANIMALS)


def test_ranges_tell_their_classes() -> None:
    assert grouping_from_labels(["5-9", "0-4"], 10) == CoarseGrouping(
        ("0-4", "5-9"), ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))
    )


@pytest.mark.parametrize(
    "labels", [["0-4"], ["0-4", "5-8"], ["0-4", "high"], ["sick", "healthy"], ["0-4", "5-999999999"], []]
)
def test_labels_that_do_not_tell_ask_for_the_option(labels: list[str]) -> None:
    with pytest.raises(UserError, match=r"do not tell which of the 10 classes .* say so with --coarse"):
        grouping_from_labels(labels, 10)


def test_the_order_of_groups_is_that_of_their_first_class() -> None:
    ordered = CoarseGrouping(("odd", "even"), ((1, 3), (2, 0)))
    assert by_first_class(ordered) == CoarseGrouping(("even", "odd"), ((2, 0), (1, 3)))
    assert by_first_class(by_first_class(ordered)) == by_first_class(ordered)
