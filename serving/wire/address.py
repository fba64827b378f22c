"""The address that the service listens on."""

import os
import socket
import sys

import click

from clustnet.errors import UserError

# BentoML's own defaults.
HOST, PORT = "0.0.0.0", 3000  # noqa: S104 - it is only tried


def check_address() -> None:
    """Check that ``bentoml serve``, if that is what runs, can listen on the address in its options.

    Raises:
        UserError: the port is taken, or the address is not one of this machine's.
    """
    if address := _address():
        check_free(*address)


def say_address() -> None:
    """Say on stderr which page to open, if ``bentoml serve`` is what runs."""
    if address := _address():
        print(f"clustnet: open {page(*address)} in a browser; ctrl-C stops the service.", file=sys.stderr)


def page(host: str, port: int) -> str:
    """Return the URL by which a browser on this machine reaches a service that listens on an address."""
    # No browser can open "all addresses of this machine".
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing listens here
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _address() -> tuple[str, int] | None:
    """Return the host and port in the options of ``bentoml serve``, or None if they are not known."""
    command = click.get_current_context(silent=True)
    # A configuration file may name another host and port.
    if not command or "BENTOML_CONFIG" in os.environ:
        return None
    return command.params.get("host") or HOST, command.params.get("port") or PORT


def check_free(host: str, port: int) -> None:
    """Check that this machine can listen on a port of one of its addresses.

    Raises:
        UserError: this machine cannot listen there.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            # As for the service's own socket.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "a port is from 1 to 65535"
        fix = "stop what uses it, or choose another with --port (PORT=8080 of 'make serve') or CLUSTNET_GRPC_PORT"
        raise UserError(f"Nothing can listen on port {port} of {host} ({why}); {fix}.") from None
