from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from serving.headers import header

NAMES = st.sampled_from([b"accept", b"content-type", b"x-request-id"])


@given(st.lists(st.tuples(NAMES, st.binary(max_size=20))), NAMES)
def test_it_finds_what_starlette_finds(fields: list[tuple[bytes, bytes]], name: bytes) -> None:
    scope = {"type": "http", "headers": fields}
    assert header(fields, name) == Headers(scope=scope).get(name.decode())
