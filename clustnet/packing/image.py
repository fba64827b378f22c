"""A bundle as an OCI image layout: one layer with the bundle's files under ``/models``, as KServe's Modelcar expects.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md. The same bundle gives the same bytes.
"""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

from clustnet.bundles.bundle import Bundle
from clustnet.files import replacing_folder, sha256_of

MODELS = "models"
TYPE = "application/vnd.oci.image"
# The files suit any machine, but clients ask for a platform all the same.
PLATFORM = {"architecture": "amd64", "os": "linux"}
TITLE, VERSION, REFERENCE = (f"org.opencontainers.image.{name}" for name in ("title", "version", "ref.name"))


def write_image(bundle: Bundle, out: Path) -> str:
    """Write a bundle as an OCI image layout to the folder ``out``, whole or not at all, and return the image's digest.

    Args:
        bundle: a checked bundle.
        out: the folder, which is replaced if it exists.
    """
    manifest = bundle.manifest
    labels = {TITLE: manifest.name, VERSION: manifest.version}
    with replacing_folder(out) as folder:
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        layer = _write_layer(bundle.folder, blobs)
        config = {
            **PLATFORM,
            "config": {"Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }
        image = {
            "schemaVersion": 2,
            "mediaType": f"{TYPE}.manifest.v1+json",
            "config": _write_json(config, "config", blobs),
            "layers": [layer],
            "annotations": labels,
        }
        described = _write_json(image, "manifest", blobs)
        index = {
            "schemaVersion": 2,
            "mediaType": f"{TYPE}.index.v1+json",
            "manifests": [described | {"annotations": {REFERENCE: manifest.version}}],
        }
        (folder / "index.json").write_text(json.dumps(index))
        (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    digest: str = described["digest"]
    return digest


def _write_layer(bundle: Path, blobs: Path) -> dict[str, Any]:
    """Write the layer, uncompressed because weights would hardly shrink, and return its descriptor."""
    written = blobs / "layer"
    with tarfile.open(written, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(_entry(MODELS, tarfile.DIRTYPE))
        for path in sorted(bundle.rglob("*")):
            name = f"{MODELS}/{path.relative_to(bundle).as_posix()}"
            if path.is_dir():
                archive.addfile(_entry(name, tarfile.DIRTYPE))
                continue
            with path.open("rb") as content:
                archive.addfile(_entry(name, tarfile.REGTYPE, path.stat().st_size), content)
    digest, size = sha256_of(written), written.stat().st_size
    written.rename(blobs / digest)
    return _description("layer.v1.tar", digest, size)


def _entry(name: str, kind: bytes, size: int = 0) -> tarfile.TarInfo:
    """Return the entry of a file or folder in the layer, readable by everybody, without owner or time."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode = kind, size, 0o755 if kind == tarfile.DIRTYPE else 0o644
    return entry


def _write_json(document: dict[str, Any], kind: str, blobs: Path) -> dict[str, Any]:
    content = json.dumps(document, sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return _description(f"{kind}.v1+json", digest, len(content))


def _description(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"{TYPE}.{kind}", "digest": f"sha256:{digest}", "size": size}
