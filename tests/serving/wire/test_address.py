import socket

import pytest

from clustnet.errors import UserError
from serving.wire.address import check_address, check_free
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


def test_without_the_command_nothing_is_checked() -> None:
    check_address()
