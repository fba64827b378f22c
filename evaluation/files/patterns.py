"""How the data of ``clustnet evaluate`` are told to be files; this needs no pyarrow."""

from pathlib import PurePosixPath

PARQUET = ".parquet"
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def names_files(data: str) -> bool:
    """Tell a pattern of image or Parquet files, which it is by its ending, from ``NAME:SPLIT``."""
    return PurePosixPath(data).suffix.lower() in (PARQUET, *PICTURES)
