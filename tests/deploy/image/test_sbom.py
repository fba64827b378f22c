"""The software bill of materials, as its tool writes it."""

import json
from pathlib import Path

from deploy.image.build import REPOSITORY
from deploy.image.lock import versions
from deploy.image.sbom import main


def test_it_lists_the_image_and_is_reproducible(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    for out in (first, second):
        main(["--runtime", "cpu", "--out", str(out)])
    assert first.read_bytes() == second.read_bytes()
    bill = json.loads(first.read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "clustnet")
    lock = (REPOSITORY / "requirements" / "serving-cpu.txt").read_text()
    assert {part["name"]: part["version"] for part in bill["components"]} == versions(lock)
    (numpy,) = (part for part in bill["components"] if part["name"] == "numpy")
    (source,) = numpy["externalReferences"]
    assert source["hashes"][0]["content"] in lock
