import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from clustnet.bundles.bundle import Bundle
from clustnet.packing.image import write_image
from tests.synthetic import write_bundle


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write_image(Bundle(write_bundle(tmp_path / "bundle")), tmp_path / "image")
    return tmp_path / "image"


def blob(image: Path, described: dict[str, Any]) -> bytes:
    """Return the content of a description, checked as a registry does."""
    algorithm, digest = described["digest"].split(":")
    content = (image / "blobs" / algorithm / digest).read_bytes()
    assert (hashlib.new(algorithm, content).hexdigest(), len(content)) == (digest, described["size"])
    return content


def test_the_layout_is_as_specified(image: Path) -> None:
    assert json.loads((image / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (described,) = json.loads((image / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(image, described))
    config = json.loads(blob(image, manifest["config"]))
    (layer,) = manifest["layers"]
    assert described["mediaType"] == manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["digest"]]}
    assert len(list((image / "blobs" / "sha256").iterdir())) == 3


def test_the_layer_holds_the_bundle_under_models(image: Path, tmp_path: Path) -> None:
    (described,) = json.loads((image / "index.json").read_text())["manifests"]
    (layer,) = json.loads(blob(image, described))["layers"]
    blob(image, layer)
    with tarfile.open(image / "blobs" / "sha256" / layer["digest"].removeprefix("sha256:")) as archive:
        assert {entry.name.split("/")[0] for entry in archive} == {"models"}
        archive.extractall(tmp_path / "root", filter="data")
    assert Bundle(tmp_path / "root" / "models").manifest == Bundle(tmp_path / "bundle").manifest
    names = [
        {path.relative_to(folder) for path in folder.rglob("*")}
        for folder in (tmp_path / "bundle", tmp_path / "root" / "models")
    ]
    assert names[0] == names[1]


def test_the_same_bundle_gives_the_same_image(image: Path, tmp_path: Path) -> None:
    again = shutil.copytree(tmp_path / "bundle", tmp_path / "copy")
    before = (image / "index.json").read_text()
    digest = write_image(Bundle(again), image)
    assert (image / "index.json").read_text() == before
    assert digest in before


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo, which reads image layouts, is not installed")
def test_another_tool_reads_it(image: Path, tmp_path: Path) -> None:
    shown = subprocess.run(
        ["skopeo", "inspect", f"oci:{image}:1"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert json.loads(shown)["Labels"]["org.opencontainers.image.title"] == "synthetic"
