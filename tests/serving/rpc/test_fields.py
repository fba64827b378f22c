import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.refusals import Refusal
from serving.rpc.fields import MAX_FIELDS, check_fields
from serving.rpc.protocol import messages

KIND = messages.ModelInferRequest
MANY = MAX_FIELDS + 1


def nested(**content: object) -> bytes:
    """Return a request with one input."""
    asked: bytes = KIND(inputs=[content]).SerializeToString()
    return asked


def test_packed_values_are_one_field() -> None:
    check_fields(nested(name="image", contents={"uint_contents": range(100_000)}), KIND.DESCRIPTOR)
    check_fields(KIND(raw_input_contents=[bytes(100_000)]).SerializeToString(), KIND.DESCRIPTOR)


@pytest.mark.parametrize(
    "content",
    [
        KIND(inputs=MANY * [{}]).SerializeToString(),
        KIND(outputs=MANY * [{}]).SerializeToString(),
        KIND(raw_input_contents=MANY * [b""]).SerializeToString(),
        KIND(parameters={str(i): {} for i in range(MANY)}).SerializeToString(),
        nested(parameters={str(i): {} for i in range(MANY)}),
        nested(contents={"bytes_contents": MANY * [b""]}),
        # Values that are not packed, and fields that nobody knows.
        b"\x2a\x80\x10" + b"\x2a\xfd\x0f" + 1023 * b"\x20\x01",
        MANY * b"\xf8\x7f\x00",
    ],
)
def test_too_many_fields_are_refused(content: bytes) -> None:
    with pytest.raises(Refusal, match=f"The message has over {MAX_FIELDS} fields"):
        check_fields(content, KIND.DESCRIPTOR)


@given(st.binary(max_size=300))
def test_any_bytes_are_counted(content: bytes) -> None:
    check_fields(content, KIND.DESCRIPTOR)
