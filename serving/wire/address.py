"""The address that the service listens on."""

import os
import socket

import click

from clustnet.errors import UserError

# BentoML's own defaults.
HOST, PORT = "0.0.0.0", 3000  # noqa: S104 - it is only tried


def check_address() -> None:
    """Check that ``bentoml serve``, where it is what runs, can listen on the address of its options.

    Raises:
        UserError: the port is taken, or the address is none of this machine's.
    """
    command = click.get_current_context(silent=True)
    # A configuration file may name another one.
    if command and "BENTOML_CONFIG" not in os.environ:
        check_free(command.params.get("host") or HOST, command.params.get("port") or PORT)


def check_free(host: str, port: int) -> None:
    """Check that this machine can listen on a port of one of its addresses.

    Raises:
        UserError: it cannot.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            # As the service's own socket.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        fix = "stop what uses it, or choose another with --port (PORT=8080 of 'make serve') or CLUSTNET_GRPC_PORT"
        raise UserError(f"Nothing can listen on port {port} of {host} ({error.strerror}); {fix}.") from None
