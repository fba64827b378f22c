"""An image folder of Hugging Face's ``datasets``: ``SPLIT/metadata.csv`` beside the images of each split.

``load_dataset("imagefolder", data_dir=DIR)`` reads it, with the columns of the table beside the image. The format:
https://huggingface.co/docs/datasets/image_dataset#imagefolder
"""

from collections.abc import Sequence
from pathlib import Path

from clustnet.files import write_table
from review.pictures import Pictures
from review.writers.record import Record, kept, put_all


def write(folder: Path, records: Sequence[Record], pictures: Pictures) -> int:
    """Write the splits and return how many images they have."""
    written = kept(records)
    for split in dict.fromkeys(record.split for record in written):
        inside = [record for record in written if record.split == split]
        names = put_all(inside, pictures, folder / split)
        rows = [{"file_name": name, **record.columns()} for name, record in zip(names, inside, strict=True)]
        write_table(folder / split / "metadata.csv", rows)
    return len(written)
