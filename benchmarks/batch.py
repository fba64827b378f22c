"""Batch evaluation of files: images per second, processor seconds and memory of each engine.

MNIST's test images are repeated into Parquet files first. Each engine is ``clustnet evaluate`` in a process of its own;
its figures are sums over that process and all that it has started: processor seconds, and the most memory at
one moment, in which what processes share, as Ray's object store, counts once (proportional set size).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.inference import processor
from clustnet.datasets import load

FILE_IMAGES = 102_400
# A multiple of the batch size, so that each batch is full.
ROW_GROUP = 10_240
# Seconds between two looks.
EVERY = 1.0


@dataclass(frozen=True)
class Measured:
    """One run: its images, wall-clock and processor seconds, peak memory in bytes, and scores."""

    images: int
    seconds: float
    processor_seconds: float
    memory: int
    scores: dict[str, float]

    def row(self, engine: str) -> str:
        """Return the line of the table."""
        million = 1e6 / self.images
        cells = [
            engine,
            f"{self.images:,}",
            f"{self.seconds:,.0f}",
            f"{self.images / self.seconds:,.0f}",
            f"{self.processor_seconds:,.0f}",
            f"{self.processor_seconds * million:,.0f}",
            f"{self.memory / 1e6:,.0f}",
        ]
        return f"| {' | '.join(cells)} |"


def main() -> None:
    """Write the files, run the engines, print the table."""
    parser = argparse.ArgumentParser("benchmarks.batch", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/mnist"))
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--engines", nargs="+", default=["local", "ray"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the files are written, and found by a later run")
    options = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, bundle {options.bundle}, Ray with {options.workers} workers\n")
    headings = [
        "engine",
        "images",
        "seconds",
        "images/s",
        "core-seconds",
        "core-seconds a million",
        "memory at most, MB",
    ]
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        write_files(folder, options.images)
        runs = {engine: measure(options, folder, engine, Path(temporary) / engine) for engine in options.engines}
    if len(runs) > 1:
        print(f"\nthe same scores: {len({json.dumps(run.scores) for run in runs.values()}) == 1}")


def write_files(folder: Path, images: int) -> None:
    """Repeat MNIST's test images into Parquet files, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    data = load("mnist:test")
    for first in range(0, images, FILE_IMAGES):
        path = folder / f"digits-{first:010}.parquet"
        chosen = np.arange(first, min(first + FILE_IMAGES, images)) % len(data)
        if not path.exists():
            pixels = pa.array([image.tobytes() for image in data.images[chosen]], pa.binary())
            pq.write_table(pa.table({"image": pixels, "label": data.fine[chosen]}), path, row_group_size=ROW_GROUP)


def measure(options: argparse.Namespace, folder: Path, engine: str, out: Path) -> Measured:
    """Run one engine, watch its processes and return what it took."""
    command = [sys.executable, "-m", "clustnet", "evaluate", "--bundle", str(options.bundle), "--engine", engine]
    command += ["--data", f"{folder}/*.parquet", "--limit", str(options.images), "--out", str(out)]
    command += ["--workers", str(options.workers)] if engine == "ray" else []
    spent: dict[int, float] = {}
    memory, start = 0, time.perf_counter()
    # Ray's workers would run at a lower priority than all other processes.
    environment = os.environ | {"RAY_worker_niceness": "0"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        while process.poll() is None:
            memory = max(memory, _look(process.pid, spent))
            time.sleep(EVERY)
    seconds = time.perf_counter() - start
    assert process.returncode == 0
    content = json.loads((out / "scores.json").read_text())
    run = Measured(content["images"], seconds, sum(spent.values()), memory, content["scores"])
    print(run.row(engine), flush=True)
    return run


def _look(pid: int, spent: dict[int, float]) -> int:
    """Record in ``spent`` the processor seconds of a process and its descendants; return their memory in bytes."""
    memory = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            times = process.cpu_times()
            spent[process.pid] = times.user + times.system
            memory += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return memory


if __name__ == "__main__":
    main()
