import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from clustnet.bundles.bundle import MANIFEST, MIXTURE, Bundle
from clustnet.errors import UserError
from clustnet.packing.signature import SIGNATURE, check_signature, sign
from tests.synthetic import write_bundle


def write_keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    """Write a new pair of keys, the private one first."""
    secret = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def test_a_signed_bundle_fits_wherever_it_is(bundle: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    sign(bundle, private)
    Bundle(bundle)
    check_signature(bundle, public)
    check_signature(shutil.copytree(bundle, tmp_path / "models"), public)
    # Again, over the earlier signature.
    sign(bundle, private)
    check_signature(bundle, public)
    assert sorted(path.name for path in bundle.iterdir() if path.name.startswith((".", "model"))) == [SIGNATURE]


def test_the_makers_own_tool_agrees(bundle: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    sign(bundle, private)
    tool = [str(Path(sys.executable).with_name("model_signing")), "verify", "key", str(bundle)]
    own = ["--signature", str(bundle / SIGNATURE), "--public_key", str(public)]
    assert subprocess.run([*tool, *own], capture_output=True, timeout=120, check=False).returncode == 0


def change_a_graph(bundle: Path) -> None:
    (bundle / MIXTURE).write_bytes((bundle / MIXTURE).read_bytes() + b"0")


def change_the_manifest(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(manifest | {"version": "2"}))


def add_a_file(bundle: Path) -> None:
    (bundle / "more").touch()


def remove_a_file(bundle: Path) -> None:
    (bundle / MIXTURE).unlink()


def cut_the_signature(bundle: Path) -> None:
    (bundle / SIGNATURE).write_text((bundle / SIGNATURE).read_text()[:100])


@pytest.mark.parametrize("damage", [change_a_graph, change_the_manifest, add_a_file, remove_a_file, cut_the_signature])
def test_a_changed_bundle_is_refused(bundle: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    private, public = write_keys(tmp_path)
    sign(bundle, private)
    damage(bundle)
    with pytest.raises(UserError, match=r"^The signature of .* does not fit .*key\.pub \(.+\); copy it again, or sign"):
        check_signature(bundle, public)


def test_another_key_is_refused(bundle: Path, tmp_path: Path) -> None:
    sign(bundle, write_keys(tmp_path)[0])
    with pytest.raises(UserError, match=r"does not fit .*other\.pub"):
        check_signature(bundle, write_keys(tmp_path, "other")[1])


def test_an_unsigned_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not signed: it holds no model\.sig; sign it with 'clustnet pack"):
        check_signature(bundle, write_keys(tmp_path)[1])


def test_a_wrong_key_leaves_the_bundle_as_it_was(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no key")
    for key in (tmp_path / "no.pem", tmp_path / "nowhere.pem"):
        with pytest.raises(UserError, match="give a private elliptic-curve key in PEM"):
            sign(bundle, key)
    assert not [path for path in bundle.rglob("*") if SIGNATURE in path.name]


def test_without_the_package_it_is_one_sentence(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(UserError, match="pip install"):
        sign(bundle, write_keys(tmp_path)[0])
