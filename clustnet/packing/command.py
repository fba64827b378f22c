"""``clustnet pack``: sign a bundle, and pack it as an image for a cluster."""

import argparse
from pathlib import Path

from clustnet.bundles.bundle import Bundle
from clustnet.errors import UserError
from clustnet.files import check_writable
from clustnet.packing.image import write_image
from clustnet.packing.signature import SIGNATURE, sign


def main(arguments: list[str]) -> None:
    """Run the command.

    Raises:
        UserError: the bundle or the key cannot be used, or there is nothing to do.
    """
    options = _parser().parse_args(arguments)
    if not options.key and not options.oci:
        raise UserError("Say what to do: --key PRIVATE.pem signs the bundle, --oci DIR writes it as an image.")
    bundle = Bundle(options.bundle)
    if options.oci:
        check_writable(options.oci, "--oci")
    if options.key:
        sign(options.bundle, options.key)
        print(f"Signed: {options.bundle / SIGNATURE}")
    if options.oci:
        print(f"Written: {options.oci}, image {write_image(bundle, options.oci)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clustnet pack",
        description="Sign a bundle, and write it as an OCI image layout with its files under /models.",
        allow_abbrev=False,
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
    parser.add_argument(
        "--key", type=Path, metavar="PRIVATE.pem", help=f"sign with this elliptic-curve key, into BUNDLE/{SIGNATURE}"
    )
    parser.add_argument("--oci", type=Path, metavar="DIR", help="write the image layout to this folder")
    return parser
