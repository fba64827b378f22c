import subprocess
import sys

DECODE = """
import io, struct, zlib
import serving.api.predict
from PIL import Image
from clustnet.bundles.decoding import decode

# Entries of camera data that are longer than the file.
entries = b"".join(struct.pack("<HHII", tag, 2, 2**31, 4) for tag in range(100))
file = io.BytesIO()
Image.new("L", (9, 9)).save(file, "PNG", exif=b"II*\\0" + struct.pack("<IH", 8, 100) + entries)
print(decode(file.getvalue()).size)
"""


def test_damaged_camera_data_fill_no_log() -> None:
    done = subprocess.run([sys.executable, "-c", DECODE], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("(9, 9)\n", "")
