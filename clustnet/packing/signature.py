"""The signature of a bundle: OpenSSF's model signature over all of its files, made and checked with a key alone.

https://github.com/sigstore/model-transparency; its tool ``model_signing verify key`` reads the same file.
"""

import logging
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

from clustnet.errors import UserError
from clustnet.files import write_text

# In the bundle's folder.
SIGNATURE = "model.sig"
SIGN = "sign it with 'clustnet pack BUNDLE --key PRIVATE.pem'"
INSTALL = "model signatures need the extra 'signing'; install it with: pip install '.[signing]' in the repository"


def sign(folder: Path, private_key: Path) -> None:
    """Sign all files of a bundle with an elliptic-curve key in PEM, replacing an earlier signature.

    Raises:
        UserError: the key cannot be used.
    """
    package = _package()
    hashing = package.hashing.Config().set_ignored_paths(paths=[SIGNATURE])
    with tempfile.TemporaryDirectory() as outside:
        # Inside the bundle it would be signed as well.
        made = Path(outside) / SIGNATURE
        try:
            signer = package.signing.Config().use_elliptic_key_signer(private_key=private_key)
            signer.set_hashing_config(hashing).sign(folder, made)
        except Exception as error:  # noqa: BLE001 - three libraries raise their own
            fault = f"{private_key} cannot sign {folder} ({_first_line(error)})"
            raise UserError(f"{fault}; give a private elliptic-curve key in PEM.") from None
        write_text(folder / SIGNATURE, made.read_text(encoding="utf-8"))


def check_signature(folder: Path, public_key: Path) -> None:
    """Check that a bundle was signed with this key, and that no file was changed, added or removed since.

    Raises:
        UserError: the bundle is not signed, was signed with another key, or has changed.
    """
    if not (folder / SIGNATURE).is_file():
        raise UserError(f"{folder} is not signed: it holds no {SIGNATURE}; {SIGN}.")
    package = _package()
    try:
        package.verifying.Config().use_elliptic_key_verifier(public_key=public_key).verify(folder, folder / SIGNATURE)
    except Exception as error:  # noqa: BLE001 - three libraries raise their own
        reason = _first_line(error) or "it was made with another key"
        raise UserError(
            f"The signature of {folder} does not fit {public_key} ({reason}); copy it again, or {SIGN}."
        ) from None


def _package() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import model_signing
    except ModuleNotFoundError:
        raise UserError(f"{INSTALL}.") from None
    logging.getLogger("model_signing").setLevel(logging.WARNING)
    package: ModuleType = model_signing
    return package


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
