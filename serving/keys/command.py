"""``clustnet key``: make an API key for the service."""

import argparse
import sys

from serving.keys.keys import SCOPES, make_key


def main(arguments: list[str]) -> None:
    """Run the command: the key, which is kept nowhere, goes to stderr, and the line for the file to stdout.

    Raises:
        UserError: the name or a scope cannot be used.
    """
    options = _parser().parse_args(arguments)
    secret, key = make_key(options.name, options.scopes.split(","))
    print(f"The key, shown only now: {secret}", file=sys.stderr)
    print(key.line())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clustnet key",
        description="Make an API key, which is shown only once; append the printed line to the file named by "
        "CLUSTNET_API_KEYS_FILE.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="the owner of the key, as shown in the service's log")
    parser.add_argument("--scopes", default=SCOPES[0], help="predict, admin or predict,admin (default: %(default)s)")
    return parser
