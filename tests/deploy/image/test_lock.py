"""Lock files: read as pip does, and in agreement with each other."""

import importlib.metadata
from pathlib import Path

import pytest

from deploy.image.build import REPOSITORY, RUNTIMES
from deploy.image.lock import IMAGE, installed, versions

LOCK = """
# by a tool
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via clustnet
numpy==2.5.5 ; python_full_version >= '3.12' --hash=sha256:cc
ruamel.yaml==1.0 --hash=sha256:dd
"""


def read(name: str) -> str:
    return (REPOSITORY / "requirements" / f"{name}.txt").read_text()


def test_markers_decide_and_hashes_stay() -> None:
    assert versions(LOCK) == {"numpy": "2.4.6", "ruamel-yaml": "1.0"}
    newer = IMAGE | {"python_version": "3.13", "python_full_version": "3.13.1"}
    assert versions(LOCK, newer) == {"numpy": "2.5.5", "ruamel-yaml": "1.0"}
    assert [hashes for _, hashes in installed(LOCK)] == [["sha256:aa", "sha256:bb"], ["sha256:dd"]]


@pytest.mark.parametrize("name", ["serving-cpu", "serving-gpu", "all"])
def test_every_package_is_locked_with_hashes(name: str) -> None:
    for requirement, hashes in installed(read(name)):
        assert str(requirement.specifier).startswith("==")
        assert hashes
        assert all(hash_.startswith("sha256:") for hash_ in hashes)


def test_the_lock_files_agree() -> None:
    """Otherwise the tests, which run with all.txt, would tell nothing of what is served."""
    everything = versions(read("all"))
    for runtime in RUNTIMES:
        served = versions(read(f"serving-{runtime}"))
        shared = served.keys() & everything.keys() - {"onnxruntime", "onnxruntime-gpu"}
        assert len(shared) > 60
        different = {name for name in shared if served[name] != everything[name] and not name.startswith("nvidia-")}
        assert different == set()


def test_the_runtimes_differ_in_the_runtime_alone() -> None:
    cpu, gpu = versions(read("serving-cpu")), versions(read("serving-gpu"))
    assert cpu.keys() - gpu.keys() == {"onnxruntime"}
    more = gpu.keys() - cpu.keys()
    assert {"onnxruntime-gpu", "nvidia-cudnn-cu13"} <= more
    assert all(name.startswith("nvidia-") for name in more - {"onnxruntime-gpu"})
    assert not {"torch", "onnx"} & (cpu.keys() | gpu.keys())


def test_it_reads_as_the_installer_did() -> None:
    for name in ("numpy", "bentoml", "pydantic"):
        assert versions(read("all"))[name] == importlib.metadata.version(name)


def test_the_dockerfile_and_the_makefile_take_these_files() -> None:
    assert "COPY requirements/serving-${RUNTIME}.txt " in (REPOSITORY / "Dockerfile").read_text()
    for runtime in RUNTIMES:
        assert Path(REPOSITORY / "requirements" / f"serving-{runtime}.txt").exists()
        assert f"--output-file requirements/serving-{runtime}.txt" in (REPOSITORY / "Makefile").read_text()
