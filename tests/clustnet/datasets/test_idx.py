import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from clustnet.datasets.idx import parse_idx
from clustnet.errors import UserError


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes, as LeCun's page describes it."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)))
def test_it_is_the_array_that_was_written(array: np.ndarray) -> None:
    found = parse_idx(idx(array), "file")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\0",  # no dimension
        b"\0\0\x08\x02" + struct.pack(">I", 3),  # the shape is cut short
        b"\0\0\x0d\x01" + struct.pack(">I", 4) + bytes(4),  # 32-bit floats
        b"\0\0\x08\x01" + struct.pack(">I", 4) + bytes(3),
        b"\0\0\x08\x01" + struct.pack(">I", 4) + bytes(5),
        b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**31, 4),  # its product is 0 in 64 bits
        b"\0\0\x08\x04" + struct.pack(">4I", *[2**32 - 1] * 3, 0),  # empty, but of sides that no array has
        b"\0\0\x08\xff" + bytes(4 * 255),  # empty, but of more dimensions than an array has
    ],
)
def test_another_content_is_refused_by_its_name(content: bytes) -> None:
    with pytest.raises(UserError, match=r"^letters\.gz is not an IDX file of unsigned bytes, or is cut short; get it"):
        parse_idx(content, "letters.gz")


@given(st.binary(max_size=60))
def test_any_content_is_at_worst_refused(content: bytes) -> None:
    with contextlib.suppress(UserError):
        assert parse_idx(b"\0\0\x08" + content, "file").dtype == np.uint8
