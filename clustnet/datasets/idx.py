"""IDX, the format of MNIST's files: a magic number for type and dimensions, the shape, then the values.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits", the section on file formats.
"""

import numpy as np
from numpy.typing import NDArray

from clustnet.errors import UserError

# How an IDX file of unsigned bytes begins.
UNSIGNED_BYTES = b"\x00\x00\x08"


def parse_idx(content: bytes, source: str) -> NDArray[np.uint8]:
    """Return the array that an unpacked IDX file of unsigned bytes holds, read-only.

    Args:
        content: the whole file.
        source: the name of the file, for the error message.

    Raises:
        UserError: the values have another type, their number does not match the shape, or the shape is impossible.
    """
    try:
        if content[:3] != UNSIGNED_BYTES or content[3:4] in (b"", b"\0"):
            raise ValueError
        shape = np.frombuffer(content, ">u4", content[3], offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    except ValueError:
        raise UserError(f"{source} is not an IDX file of unsigned bytes, or is cut short; get it again.") from None
