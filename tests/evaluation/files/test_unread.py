from evaluation.files.unread import LISTED, Fault, Unread


def test_all_are_counted_and_the_first_listed_in_any_order() -> None:
    faults = [Fault(index, f"row {index}", "torn") for index in range(LISTED + 5)]
    late, early = Unread.of(faults[400:]), Unread.of(faults[:400])
    for both in (late + early, early + late):
        assert both == Unread(LISTED + 5, tuple(faults[:LISTED]))
    assert Unread() + early == early
