import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustnet.corrections.actions import ACTION, AnyAction, parse
from clustnet.corrections.state import Review, replay
from clustnet.errors import UserError
from tests.clustnet.corrections.runs import FILES, found


def act(verb: str, **values: object) -> AnyAction:
    return parse({"verb": verb, **values})


def after(*actions: AnyAction) -> Review:
    return replay(found(), actions)[0]


def table(review: Review) -> dict[str, tuple[str, int]]:
    return {one.id: (one.name, len(review.members(one.id))) for one in review.ordered()}


START = {"defect/1": ("", 3), "defect/2": ("", 3), "ok/1": ("", 3), "ok/2": ("", 3)}


def test_a_run_begins_as_found() -> None:
    assert table(after()) == START


def test_a_name_is_given_and_taken_away() -> None:
    named = act("rename", subtype="ok/1", name=" grey coat ")
    assert table(after(named))["ok/1"] == ("grey coat", 3)
    assert table(after(named, act("rename", subtype="ok/1", name=""))) == START


def test_the_first_of_merged_keeps_its_id() -> None:
    made = after(act("rename", subtype="ok/1", name="grey"), act("merge", subtypes=["ok/2", "ok/1"]))
    assert table(made) == {"defect/1": ("", 3), "defect/2": ("", 3), "ok/2": ("grey", 6)}


def test_a_split_leaves_other_ids_alone() -> None:
    made = after(act("split", subtype="ok/1", parts={"ok/3": ["ok/0.png"], "ok/4": ["ok/1.png"]}))
    assert table(made) == START | {"ok/1": ("", 1), "ok/3": ("", 1), "ok/4": ("", 1)}
    assert made.next_id("ok") == "ok/5"


def test_an_id_is_never_given_twice() -> None:
    made = after(act("merge", subtypes=["ok/1", "ok/2"]), act("move", files=["ok/0.png"], to="ok/3"))
    assert table(made)["ok/3"] == ("", 1)


def test_a_copy_gives_no_id_again() -> None:
    made = after(act("merge", subtypes=["ok/1", "ok/2"])).copy()
    assert made.next_id("ok") == "ok/3"


def test_an_image_named_twice_counts_once() -> None:
    made = after(act("move", files=["ok/0.png"] * 3 + ["ok/1.png"], to="ok/2"))
    assert table(made) == START | {"ok/1": ("", 1), "ok/2": ("", 5)}
    made.apply(parse({"verb": "move", "files": ["ok/2.png"], "to": "ok/2"}))
    assert "ok/1" not in made.subtypes


def test_a_move_empties_and_relabels() -> None:
    made = after(act("move", files=FILES[:3], to="defect/2"))
    assert table(made) == {"defect/1": ("", 3), "defect/2": ("", 6), "ok/2": ("", 3)}
    assert made.coarse("ok/0.png") == "defect"
    assert made.touched == set(FILES[:3])


def test_a_mark_replaces_one_of_its_kind() -> None:
    wrong, right = (act("mark", files=["ok/0.png"], mark=f"{word}_label") for word in ("wrong", "right"))
    outlier = act("mark", files=["ok/0.png"], mark="outlier")
    assert after(wrong).left_out("ok/0.png") == "wrong_label"
    assert after(wrong, right).left_out("ok/0.png") == ""
    assert after(outlier, right).marks["ok/0.png"] == {"outlier": "outlier", "label": "right_label"}


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (act("rename", subtype="ok/9", name="x"), "no subtype 'ok/9'; the subtypes are defect/1, defect/2, ok/1, ok/2"),
        (act("rename", subtype="ok/1", name="ok/2"), "looks like the id"),
        (act("rename", subtype="ok/1", name="scratch"), "already belongs to defect/1"),
        (act("merge", subtypes=["ok/1", "ok/1"]), "two different subtypes"),
        (act("merge", subtypes=["ok/1", "defect/1"]), "different coarse labels"),
        (act("split", subtype="ok/1", parts={"ok/9": ["ok/0.png"]}), "the next is ok/3"),
        (act("split", subtype="ok/1", parts={"ok/3": ["ok/5.png"]}), "its own images"),
        (act("split", subtype="ok/1", parts={"ok/3": FILES[:3]}), "must leave images"),
        (act("move", files=["ok/0.png"], to="ok/9"), "no subtype 'ok/9'"),
        (act("move", files=["ok/7.png"], to="ok/1"), "no image 'ok/7.png'"),
        (act("mark", files=["gone.png"], mark="outlier"), "no image 'gone.png'"),
        (act("undo"), "nothing to undo"),
        (act("redo"), "nothing to redo"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(action: AnyAction, words: str) -> None:
    named = act("rename", subtype="defect/1", name="scratch")
    with pytest.raises(UserError, match=words):
        after(*([] if action.verb == "undo" else [named]), action)


def test_undo_and_redo_have_no_limit() -> None:
    names = [act("rename", subtype="ok/1", name=str(number)) for number in range(300)]
    assert table(after(*names, *[act("undo")] * 300)) == START
    assert table(after(*names, *[act("undo")] * 300, *[act("redo")] * 299))["ok/1"][0] == "298"


def test_a_new_action_ends_redo() -> None:
    with pytest.raises(UserError, match="nothing to redo"):
        after(
            act("merge", subtypes=["ok/1", "ok/2"]), act("undo"), act("rename", subtype="ok/1", name="x"), act("redo")
        )


@given(
    st.lists(
        st.tuples(st.sampled_from(["merge", "move", "mark", "undo", "redo"]), st.integers(0, 11), st.integers(0, 3))
    )
)
def test_every_image_keeps_one_subtype(words: list[tuple[str, int, int]]) -> None:
    done: list[AnyAction] = []
    for verb, place, number in words:
        to = sorted(START)[number]
        values = {
            "merge": {"subtypes": [to, sorted(START)[number - 1]]},
            "move": {"files": [FILES[place]], "to": to},
            "mark": {"files": [FILES[place]], "mark": "outlier"},
        }
        try:
            after(*done, action := act(verb, **values.get(verb, {})))
        except UserError:
            continue
        done.append(action)
    made = after(*done)
    assert set(made.of.tolist()) == set(made.subtypes)
    assert sum(len(made.members(name)) for name in made.subtypes) == len(FILES)


def test_actions_survive_json() -> None:
    split = act("split", subtype="ok/1", parts={"ok/3": ["ok/0.png"]})
    assert ACTION.validate_json(ACTION.dump_json(split)) == split
    with pytest.raises(UserError, match="not a review action"):
        parse({"verb": "rename", "subtype": "ok/1", "name": "two\nlines"})


def test_the_digest_changes_with_what_was_found() -> None:
    other = found()
    other.subtype[0] = 3
    assert found().digest() == found().digest() != other.digest()
    assert np.array_equal(Review.of_run(other).members("ok/2"), [0, 3, 4, 5])
