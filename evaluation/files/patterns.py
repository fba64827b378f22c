"""Whether data are files or a named data set; this needs no pyarrow."""

from pathlib import PurePosixPath

PARQUET = ".parquet"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def names_files(data: str) -> bool:
    """Return whether data are a pattern of image or Parquet files, which its ending says, and not ``NAME:SPLIT``."""
    return PurePosixPath(data).suffix.lower() in (PARQUET, *PICTURES)
