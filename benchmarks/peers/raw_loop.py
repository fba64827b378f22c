"""The graph alone, in a loop: what no service can exceed.

``python -m benchmarks.peers.raw_loop BATCH SECONDS`` prints images per second.
"""

import sys
import time

import numpy as np

from benchmarks.peers.graph import OUTPUTS, open_session
from clustnet.datasets import load

batch, seconds = int(sys.argv[1]), float(sys.argv[2])
session, images = open_session(), np.ascontiguousarray(load("mnist:test").images[:batch])
session.run(OUTPUTS, {"image": images})
count, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds:
    session.run(OUTPUTS, {"image": images})
    count += batch
print(count / (time.perf_counter() - start))
