"""What each piece of the service's own machinery gives: ``python -m benchmarks.pieces``.

Variants run at the same time on core 0 and get requests by turns from core 1. Ratios are medians over the turns, beside
the service as it is.
"""

import argparse
import os
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil

from benchmarks.inference import processor
from benchmarks.load import steady_load, top_load
from benchmarks.peers.variant import VARIANTS
from benchmarks.requests import binary_v2, json_images
from benchmarks.servers import CLUSTNET, Server, running

SERVER_CORE, CLIENT_CORE = (0,), (1,)
CLIENTS, OVERLOAD = 4, 3
REQUESTS = {"binary V2": binary_v2(1), "`/predict`": json_images(1)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("benchmarks.pieces", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/mnist"))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    options = parser.parse_args()
    os.sched_setaffinity(0, CLIENT_CORE)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {options.turns} turns of {options.seconds} s, medians\n")
    print("| variant | request | CPU a request, ms | of it as it is | top load / as it is | goodput at 3 x the top |")
    print("|---|---|---|---|---|---|")
    with ExitStack() as stack:
        there = []
        for name in options.variants:
            server = variant(name)
            url, process = stack.enter_context(
                running(server, options.bundle, SERVER_CORE, {"CLUSTNET_LOG_REQUESTS": "none"})
            )
            there.append((name, url, psutil.Process(process.pid)))
        for kind in REQUESTS:
            turns = np.array(
                [[_measure(url, p, kind, options, t) for _, url, p in there] for t in range(options.turns)]
            )
            for index, name in enumerate(options.variants):
                cpu, top, good = turns[:, index].T
                beside = [np.median(part / turns[:, 0, column]) for column, part in ((0, cpu), (1, top))]
                cells = f"{np.median(cpu):.2f} | {beside[0]:.2f} | {beside[1]:.2f} | {np.median(good):.2f}"
                print(f"| {name} | {kind} | {cells} |", flush=True)


def variant(name: str) -> Server:
    """Return the server of a variant."""
    return replace(CLUSTNET, name=name, command=("-m", "benchmarks.peers.variant", name))


def _measure(url: str, process: psutil.Process, kind: str, options: argparse.Namespace, turn: int) -> list[float]:
    """Return CPU milliseconds per request, the top load, and the share of it that is answered at three times it."""
    request = REQUESTS[kind]
    before = _computed(process)
    top = top_load(url, request, CLIENTS, options.seconds, CLIENT_CORE)
    between = _computed(process)
    # h2load first warms up for a second, with as many requests per second.
    cpu = (between - before) / (top * (options.seconds + 1))
    answers = steady_load(url, request, OVERLOAD * top, options.seconds, seed=turn)
    good = answers.statuses[200] / (_computed(process) - between)
    return [1000 * cpu, top, good * cpu]


def _computed(process: psutil.Process) -> float:
    """Return the CPU seconds of a process."""
    return float(sum(process.cpu_times()[:2]))


if __name__ == "__main__":
    main()
