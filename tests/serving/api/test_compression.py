import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.compression import accepted_encoding, compress, decompress
from serving.refusals import Refusal
from tests.serving.v2.bodies import outcome

LIMIT = 1000
PACK = {"gzip": gzip.compress, "deflate": zlib.compress}
UNPACK = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@given(content=st.binary(max_size=LIMIT))
def test_bodies_are_packed_like_pythons_modules(encoding: str, content: bytes) -> None:
    assert decompress(PACK[encoding](content), encoding.upper(), LIMIT) == content
    assert UNPACK[encoding](compress(content, encoding)) == content


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_a_plain_body_stays_as_it_is(encoding: str) -> None:
    assert decompress(b"x", encoding, LIMIT) == b"x"


@pytest.mark.parametrize(
    ("content", "encoding", "status", "says"),
    [
        (b"x", "br", 415, "'br' is unknown; send gzip, deflate or none"),
        (b"x", "gzip, gzip", 415, "'gzip, gzip' is unknown"),
        (b"xx", "gzip", 400, "is not gzip"),
        (b"", "gzip", 400, "is cut short"),
        (gzip.compress(b"x", mtime=0)[:-1], "gzip", 400, "is cut short"),
        (gzip.compress(b"x", mtime=0) + b"y", "gzip", 400, "goes on after its end"),
        (gzip.compress(b"x", mtime=0) * 2, "gzip", 400, "as one member"),
        (gzip.compress(b"x", mtime=0), "deflate", 400, "is not deflate"),
        (zlib.compress(b"x")[:-1] + b"?", "deflate", 400, "is not deflate"),
        (zlib.compress(b"x" * (LIMIT + 1)), "deflate", 413, "over 1000 bytes when unpacked"),
    ],
)
def test_wrong_bodies_are_refused(content: bytes, encoding: str, status: int, says: str) -> None:
    with pytest.raises(Refusal, match=says) as refusal:
        decompress(content, encoding, LIMIT)
    assert refusal.value.status == status


def test_a_bomb_takes_bounded_memory() -> None:
    bomb = gzip.compress(bytes(50 * 2**20))
    tracemalloc.start()
    with pytest.raises(Refusal, match="over 1048576 bytes"):
        decompress(bomb, "gzip", 2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 2**20


@given(content=st.binary(max_size=100), encoding=st.sampled_from(["gzip", "deflate", "zstd"]))
def test_any_bytes_are_unpacked_or_refused(content: bytes, encoding: str) -> None:
    plain = outcome(lambda: decompress(content, encoding, LIMIT))
    if isinstance(plain, Refusal):
        assert plain.status in (400, 413, 415)
    else:
        assert plain == UNPACK[encoding](content)


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("Deflate", "deflate"),
        ("br, deflate, gzip", "deflate"),
        ("gzip;q=0.5", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.00, deflate;Q=0", None),
        ("*", None),
        ("identity", None),
    ],
)
def test_the_first_accepted_encoding_is_taken(header: str, encoding: str | None) -> None:
    assert accepted_encoding(header) == encoding
