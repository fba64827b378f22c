"""A ``FiftyOneImageClassificationDataset``: ``labels.json`` and the images in ``data/``.

The format: https://docs.voxel51.com/user_guide/import_datasets.html#fiftyoneimageclassificationdataset
"""

import json
from collections.abc import Sequence
from pathlib import Path

from review.pictures import Pictures
from review.writers.record import Record, kept, put_all


def write(folder: Path, records: Sequence[Record], pictures: Pictures) -> int:
    """Write labels and images, and return how many images there are."""
    written = kept(records)
    classes = sorted({record.name for record in written})
    place = {name: number for number, name in enumerate(classes)}
    labels = {}
    for name, record in zip(put_all(written, pictures, folder / "data"), written, strict=True):
        attributes = {"file": record.file, "split": record.split, "coarse": record.coarse, "by": record.by}
        labels[Path(name).stem] = {
            "label": place[record.name],
            "confidence": record.confidence,
            "attributes": attributes,
        }
    content = {"classes": classes, "labels": labels}
    (folder / "labels.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return len(written)
