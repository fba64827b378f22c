"""Whether data are files or a named data set; this needs no pyarrow."""

from pathlib import Path, PurePosixPath

PARQUET = ".parquet"
PICTURES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp")
WILD = frozenset("*?[")


def names_files(data: str) -> bool:
    """Return whether data are a pattern of image or Parquet files, and not ``NAME:SPLIT``.

    A pattern needs no such suffix if it has a wildcard or a folder, or if there is a file of that name.
    """
    if PurePosixPath(data).suffix.lower() in (PARQUET, *PICTURES):
        return True
    from clustnet.datasets import DATA_SETS, SPLITS

    name, _, rest = data.partition(":")
    if (name in DATA_SETS and rest) or rest.rpartition(":")[2] in SPLITS:
        return False
    return "/" in data or bool(WILD & set(data)) or Path(data).is_file()
