"""Tasks of Label Studio: ``tasks.json``, the labelling interface ``config.xml``, and the images.

What a person decided is an annotation, all else a prediction. Label Studio reads the images if it is started with
``LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true`` and ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=DIR``. The format:
https://labelstud.io/guide/tasks#Basic-Label-Studio-JSON-format
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from review.pictures import Pictures
from review.writers.record import Record, kept, put_all

IMAGE, SUBTYPE, IMAGES = "image", "subtype", "images"


def write(folder: Path, records: Sequence[Record], pictures: Pictures) -> int:
    """Write tasks, interface and images, and return how many images there are."""
    written = kept(records)
    names = put_all(written, pictures, folder / IMAGES)
    tasks = [_task(name, record) for name, record in zip(names, written, strict=True)]
    (folder / "tasks.json").write_text(json.dumps(tasks, indent=1), encoding="utf-8")
    choices = sorted({record.name for record in written})
    (folder / "config.xml").write_text(_interface(choices), encoding="utf-8")
    return len(written)


def _task(name: str, record: Record) -> dict[str, Any]:
    chosen = {"from_name": SUBTYPE, "to_name": IMAGE, "type": "choices", "value": {"choices": [record.name]}}
    said = {"result": [chosen]}
    data = {IMAGE: f"/data/local-files/?d={quote(f'{IMAGES}/{name}')}", "file": record.file, "coarse": record.coarse}
    if record.by == "person":
        return {"data": data, "annotations": [said]}
    return {"data": data, "predictions": [{"model_version": "clustnet", "score": record.confidence, **said}]}


def _interface(choices: Sequence[str]) -> str:
    lines = "".join(f"    <Choice value={quoteattr(choice)}/>\n" for choice in choices)
    return (
        f'<View>\n  <Image name="{IMAGE}" value="${IMAGE}"/>\n'
        f'  <Choices name="{SUBTYPE}" toName="{IMAGE}" choice="single">\n{lines}  </Choices>\n</View>\n'
    )
