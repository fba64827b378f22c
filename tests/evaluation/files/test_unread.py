from evaluation.files.unread import MAX_LISTED, Fault, UnreadImages


def test_all_are_counted_and_the_first_listed() -> None:
    faults = [Fault(index, "a.parquet", str(index), "torn") for index in range(MAX_LISTED + 5)]
    late, early = UnreadImages.of(faults[400:]), UnreadImages.of(faults[:400])
    for both in (late + early, early + late):
        assert both == UnreadImages(MAX_LISTED + 5, tuple(faults[:MAX_LISTED]))
    assert UnreadImages() + early == early
