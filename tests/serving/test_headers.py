from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from serving.headers import IDS_PER_BLOCK, REQUEST_ID_PATTERN, choose_id, field_name, header

NAMES = st.sampled_from(["Accept-Encoding", "Content-Type", "X-Request-Id"])


@given(st.lists(st.tuples(NAMES.map(field_name), st.binary(max_size=20))), NAMES)
def test_it_finds_what_starlette_finds(fields: list[tuple[bytes, bytes]], name: str) -> None:
    scope = {"type": "http", "headers": fields}
    assert header(fields, name) == Headers(scope=scope).get(name)


def test_an_id_says_nothing_of_the_next() -> None:
    ids = [choose_id("") for _ in range(3 * IDS_PER_BLOCK)]
    assert len(set(ids)) == len(ids)
    # A counter's would be in order.
    assert ids != sorted(ids)
    assert all(map(REQUEST_ID_PATTERN.fullmatch, ids))
