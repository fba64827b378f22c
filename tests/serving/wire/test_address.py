import socket

import pytest

from clustnet.errors import UserError
from serving.wire.address import check_address, check_free, page, say_address
from tests.serving.server import free_port


def test_a_free_port_is_left_free() -> None:
    with free_port() as port:
        check_free("127.0.0.1", port)
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize(("host", "reason"), [("127.0.0.1", "in use"), ("192.0.2.1", "annot assign")])
def test_an_address_that_cannot_be_used(host: str, reason: str) -> None:
    with free_port() as port, socket.create_server(("127.0.0.1", port)), pytest.raises(UserError) as caught:
        check_free(host, port)
    assert f"port {port} of {host} (" in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("port", [-1, 99999])
def test_a_number_that_is_no_port(port: int) -> None:
    with pytest.raises(UserError, match="a port is from 1 to 65535"):
        check_free("127.0.0.1", port)


def test_without_the_command_nothing_is_checked_or_said(capsys: pytest.CaptureFixture[str]) -> None:
    check_address()
    say_address()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 - nothing listens
        ("::", "http://[::1]:80"),
        ("host.example", "http://host.example:80"),
    ],
)
def test_the_page_that_a_browser_opens(host: str, url: str) -> None:
    assert page(host, 80) == url
