import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api import uploads
from serving.api.uploads import MAX_PARTS, read_upload
from serving.refusals import Refusal

FORM = "multipart/form-data; boundary=B"


def part(content: bytes, name: str = "image", filename: str | None = "digit.png", headers: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{headers}\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--B--\r\n"


@given(st.binary(min_size=1))
def test_the_file_arrives_as_it_was(content: bytes) -> None:
    assert read_upload(FORM, form(part(content))) == content


def test_a_large_file_arrives_whole() -> None:
    content = bytes(range(256)) * 8192  # 2 MiB
    assert read_upload(FORM, form(part(content))) == content


@pytest.mark.parametrize(
    ("content_type", "content", "status", "reason", "says"),
    [
        ("", b"", 415, "content_type", "is ''"),
        ("application/json", b"{}", 415, "content_type", "application/json"),
        ("image/png", b"", 415, "content_type", "multipart/form-data"),
        ("application/x-www-form-urlencoded", b"image=1", 415, "content_type", "multipart/form-data"),
        ("multipart/form-data", b"", 400, "malformed_form", "no boundary"),
        (FORM, b"no form", 400, "malformed_form", "the boundary that its content type names is not in it"),
        (FORM, b"", 400, "malformed_form", "cut short"),
        (FORM, part(b"x" * 99)[:-20], 400, "malformed_form", "cut short"),
        (FORM, form(b"--B\r\n\r\nnameless\r\n"), 400, "malformed_form", "malformed"),
        (FORM, form(part(b"x", name="photo")), 422, "wrong_keys", "unknown field 'photo'"),
        (FORM, form(part(b"x"), part(b"x", name="top")), 422, "wrong_keys", "unknown field 'top'"),
        (FORM, form(part(b"x"), part(b"y")), 422, "wrong_count", "2 times"),
        (FORM, form(part(b"http://127.0.0.1/", filename=None)), 422, "not_an_image", "text, not a file"),
        (FORM, form(part(b"")), 422, "not_an_image", "is empty"),
    ],
)
def test_wrong_forms_are_refused(content_type: str, content: bytes, status: int, reason: str, says: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_upload(content_type, content)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert says in str(caught.value)


def test_the_parts_of_a_form_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(uploads, "_content", read.append)
    with pytest.raises(Refusal, match=r"^The form has over 100 parts; send multipart/form-data") as caught:
        read_upload(FORM, form(*[part(b"x")] * 1000))
    assert (caught.value.status, caught.value.reason, len(read)) == (422, "wrong_count", MAX_PARTS)


STARRED = "Content-Disposition: form-data; name=\"image\"; filename*=UTF-8''caf%C3%A9.png\r\n"


@pytest.mark.parametrize("file", [b"\x89PNG", b"BM\0\0", b"RIFF\x80\0"])
def test_a_file_may_lack_a_plain_name(file: bytes) -> None:
    assert read_upload(FORM, form(part(file, filename=None))) == file
    assert read_upload(FORM, form(f"--B\r\n{STARRED}\r\n".encode() + file + b"\r\n")) == file


@pytest.mark.parametrize("preamble", [b"\r\n", b"text\r\n", b"--A\r\n\r\n\r\n"])
def test_text_before_the_form_is_passed_over(preamble: bytes) -> None:
    assert read_upload(FORM, preamble + form(part(b"--A"))) == b"--A"


def test_an_empty_form_lacks_the_field() -> None:
    with pytest.raises(Refusal, match="lacks the field 'image'"):
        read_upload(FORM, b"--B--\r\n")


# ASGI servers decode headers so.
HEADER = st.text(st.characters(codec="latin-1"))
BASE64 = part(b"!", headers="Content-Transfer-Encoding: base64\r\n")


@given(st.binary(), st.sampled_from([b"", b"--B\r\n", b"--B", b"--B--", part(b"x"), BASE64]), HEADER)
def test_any_body_is_read_or_refused(content: bytes, start: bytes, kind: str) -> None:
    for content_type in (FORM, kind, f"multipart/form-data; boundary={kind}"):
        try:
            read_upload(content_type, start + content)
        except Refusal as fault:
            assert fault.status in (400, 415, 422)  # noqa: PT017 - most are refused, few are not
