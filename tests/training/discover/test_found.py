import numpy as np

from training.discover.found import found_in
from training.discover.subtypes import Assignment, Row
from training.discover.table import Images, table


def row(file: str, subtype: str, name: str = "") -> Row:
    return Row(file, "train", subtype.partition("/")[0], subtype, name or subtype, 1.0, 1.0, 0, "", "")


def test_subtypes_are_in_the_order_of_their_numbers() -> None:
    found = found_in([row("a", "ok/10"), row("b", "ok/2", "grey"), row("c", "defect/1"), row("d", "ok/10")])
    assert [(one.id, one.name) for one in found.subtypes] == [("defect/1", ""), ("ok/2", "grey"), ("ok/10", "")]
    np.testing.assert_array_equal(found.subtype, [2, 1, 0, 2])
    assert found.labels == ["defect", "ok"]


def test_the_table_has_given_names() -> None:
    files = [str(number) for number in range(20)]
    subtype = np.repeat([0, 1], 10)
    space = (np.eye(2)[subtype] * 5 + np.random.default_rng(0).normal(0, 0.1, (20, 2))).astype(np.float32)
    made = Assignment(("ok/1", "ok/2"), ("ok", "ok"), subtype, np.ones(20, np.float32), ("grey", "ok/2"))
    images = Images(files, np.zeros(20, np.int64), ["ok"], np.ones(20, bool))
    rows = table(images, space, None, made, 0)
    assert {(one.subtype, one.name) for one in rows} == {("ok/1", "grey"), ("ok/2", "ok/2")}
    assert found_in(rows).subtypes[0].name == "grey"
