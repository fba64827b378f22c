"""The service beside its peers: ``make bench-serving`` prints the tables of benchmarks/README.md.

Every server answers the same images with the same graph, with one onnxruntime thread, from core 0; the clients send
from core 1. Servers take turns, and a ratio is the median of the turns' ratios. ``--device cuda`` prints the one table
of a GPU instead.
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil

from benchmarks.inference import processor
from benchmarks.load import Answers, steady_load, top_load
from benchmarks.requests import Request, binary_v2, json_images, rpc_message
from benchmarks.servers import (
    CLUSTNET,
    LITSERVE,
    MLSERVER,
    RAY,
    STARLETTE,
    Server,
    environment,
    free_port,
    pinned,
    running,
    send,
)
from clustnet.bundles.predictor import CUDA
from serving.gate import Limits

SERVER_CORE, CLIENT_CORE = (0,), (1,)
BOTH = (0, 1)
CLIENTS, BATCH = 4, 64
GPU_BATCHES = (1, 64, 1024)
# The share of the top load at which latency and memory are measured.
PART = 0.7
OVERLOAD = 3
LATENCY_OF = CLUSTNET, STARLETTE
# The share by which the top load may change in a turn; if it changed more, the load was not 70 % of it.
STEADY = 0.1
# Starts whose first request is measured.
STARTS = 3
SAMPLE_SECONDS = 5
# Minutes before the soak, in which allocators still grow.
WARM_UP_MINUTES = 16


def main() -> None:
    """Print the chosen tables, by default all but the soak."""
    options = _options()
    # This process sends the steady load.
    os.sched_setaffinity(0, CLIENT_CORE)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {options.device}, bundle {options.bundle}")
    for name in ["gpu"] if options.device == "cuda" else options.tables:
        print(f"\n### {name}\n", flush=True)
        TABLES[name](options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.serving", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/mnist"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tables", nargs="+", choices=CPU_TABLES, default=[n for n in CPU_TABLES if n != "soak"])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--minutes", type=float, default=10, help="of the soak")
    return parser.parse_args()


def compare(options: argparse.Namespace) -> None:
    """Print the top load of each server on one core."""
    servers = [server for server in (STARLETTE, CLUSTNET, LITSERVE, MLSERVER, RAY) if _is_there(server)]
    found: dict[str, list[list[float]]] = {server.name: [] for server in servers}
    found["onnxruntime, a loop"] = []
    for _ in range(options.turns):
        loop = [_raw_loop(options, batch, SERVER_CORE) for batch in (BATCH, 1)]
        found["onnxruntime, a loop"].append([*loop, float("nan")])
        for server in servers:
            found[server.name].append(_top_loads(server, options))
    print("| one core | 64 images, images/s | ClustNet / it | one image | ClustNet / it | in JSON | ClustNet / it |")
    print("|---|---|---|---|---|---|---|")
    ours = np.array(found[CLUSTNET.name])
    for name, turns in sorted(found.items(), key=lambda item: -item[1][0][0]):
        theirs = np.array(turns)
        cells = [
            f"{rate:,.0f} | {ratio:.2f}" for rate, ratio in zip(_median(theirs), _median(ours / theirs), strict=True)
        ]
        print(f"| {name} | {' | '.join(cells).replace('nan', '-')} |")


def workers(options: argparse.Namespace) -> None:
    """Print what a second worker gains, beside a second loop of onnxruntime, on both cores with the client."""
    request, turns = binary_v2(BATCH), []
    for _ in range(options.turns):
        loops = [sum(_raw_loops(options, count)) for count in (1, 2)]
        rates = []
        for count in (1, 2):
            with running(CLUSTNET, options.bundle, BOTH, {"CLUSTNET_WORKERS": str(count)}) as (url, _):
                _wait_for_workers(url, count)
                rates.append(BATCH * top_load(url, request, CLIENTS, options.seconds, BOTH))
        turns.append([*rates, rates[1] / rates[0], *loops, loops[1] / loops[0]])
    print("| batches of 64, two cores | one, images/s | two, images/s | two / one |\n|---|---|---|---|")
    one, two, ratio, loop, loops_, bare = _median(np.array(turns))
    print(f"| workers of ClustNet | {one:,.0f} | {two:,.0f} | {ratio:.2f} |")
    print(f"| loops of onnxruntime | {loop:,.0f} | {loops_:,.0f} | {bare:.2f} |")


def latency(options: argparse.Namespace) -> None:
    """Print the latency at 70 % of the top load, and of the very first request, beside the minimal server."""
    print("| one image | | turns | top load, requests/s | busy | p50, ms | p99, ms | p99 / p50 | first / p50 alone |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, request in (("binary V2", binary_v2(1)), ("`/predict`", json_images(1))):
        first = [_first_and_alone(options, server, request) for server in LATENCY_OF]
        for server, turns, ratio in zip(LATENCY_OF, _by_turns(options, request), first, strict=True):
            print(f"| {name} | {server.name} | {_latencies(turns)} | {ratio:.1f} |", flush=True)


def _by_turns(options: argparse.Namespace, request: Request) -> np.ndarray:
    """Return what ``_latency`` measures of each server in each turn, [servers, turns, 6].

    The servers run at the same time and get requests in turn, as a shared machine changes its speed.
    """
    with ExitStack() as stack:
        there = [stack.enter_context(running(server, options.bundle, SERVER_CORE)) for server in LATENCY_OF]
        turns = [[_latency(options, *one, request, turn) for one in there] for turn in range(options.turns)]
    return np.array(turns).swapaxes(0, 1)


def _latency(
    options: argparse.Namespace, url: str, process: "subprocess.Popen[bytes]", request: Request, turn: int
) -> list[float]:
    """Return the top load before and after, and for the time between the busy share, p50, p99 and p99 / p50."""
    before = top_load(url, request, CLIENTS, options.seconds, CLIENT_CORE)
    computed = _computed(process)
    answers = steady_load(url, request, PART * before, options.seconds, seed=turn)
    busy = (_computed(process) - computed) / answers.seconds
    after = top_load(url, request, CLIENTS, options.seconds, CLIENT_CORE)
    _only(answers, 200)
    p50, p99 = answers.percentile(50), answers.percentile(99)
    return [before, after, busy, p50, p99, p99 / p50]


def _latencies(turns: np.ndarray) -> str:
    """Return the medians of the turns, [N, 6], in which the top load was steady, and the quartiles of their ratios."""
    steady = turns[np.abs(turns[:, 1] / turns[:, 0] - 1) <= STEADY]
    if not len(steady):
        return f"0 of {len(turns)} | - | - | - | - | -"
    top, _, busy, p50, p99, ratio = _median(steady)
    low, high = np.quantile(steady[:, -1], (0.25, 0.75))
    medians = f"{top:,.0f} | {busy:.2f} | {p50:.2f} | {p99:.2f} | {ratio:.1f} ({low:.1f}-{high:.1f})"
    return f"{len(steady)} of {len(turns)} | {medians}"


def _first_and_alone(options: argparse.Namespace, server: Server, request: Request) -> float:
    """Return how many times as long a ready server's first prediction takes as the median of later ones."""
    ratios = []
    for _ in range(STARTS):
        with running(server, options.bundle, SERVER_CORE, ready=Request("/readyz", b"", {})) as (url, _):
            first = _seconds(url, request)
            ratios.append(first / statistics.median(_seconds(url, request) for _ in range(100)))
    return statistics.median(ratios)


def overload(options: argparse.Namespace) -> None:
    """Print what is still answered at three times the top load."""
    print("| request | top load, requests/s | sent a second | 200 a second | of top | 503 | others |", end="")
    print(" p99 of 200, ms | p50 of 503, ms | p99 of 503, ms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    page = "https://page.example"
    foreign = replace(json_images(1), headers=json_images(1).headers | {"Origin": page})
    kinds: tuple[tuple[str, Request, dict[str, str]], ...] = (
        ("binary V2, 64 images", binary_v2(BATCH), {}),
        ("binary V2, 1 image", binary_v2(1), {}),
        ("`/predict`, 1 image", json_images(1), {}),
        ("`/predict`, 1 image, from another site's page", foreign, {"CLUSTNET_CORS_ORIGINS": page}),
    )
    for name, request, settings in kinds:
        print(f"| {name} | {_goodput(*_overload(options, request, settings))} |", flush=True)


def _overload(options: argparse.Namespace, request: Request, settings: dict[str, str]) -> tuple[float, float, Answers]:
    """Return the mean top load, the requests sent per second, and their results.

    Overload and top load are measured in turn, as the speed of a shared machine changes. The overload is three times
    the mean top load of as many turns before.
    """
    with running(CLUSTNET, options.bundle, SERVER_CORE, {"CLUSTNET_LOG_REQUESTS": "none"} | settings) as (url, _):
        tops, answers = [], Answers()
        before = [top_load(url, request, CLIENTS, options.seconds, CLIENT_CORE) for _ in range(options.turns)]
        rate = OVERLOAD * statistics.mean(before)
        for turn in range(options.turns):
            answers.add(steady_load(url, request, rate, options.seconds, seed=turn))
            tops.append(top_load(url, request, CLIENTS, options.seconds, CLIENT_CORE))
    return statistics.mean(tops), rate, answers


def _goodput(top: float, rate: float, answers: Answers) -> str:
    total, good, refused = answers.statuses.total(), answers.statuses[200], answers.statuses[503]
    goodput = answers.meanwhile[200] / answers.seconds
    loads = f"{top:,.0f} | {rate:,.0f} | {goodput:,.0f} | {goodput / top:.2f}"
    counts = f"{refused:,} | {total - good - refused:,}"
    waits = f"{answers.percentile(99):,.0f} | {answers.percentile(50, 503):,.1f} | {answers.percentile(99, 503):,.1f}"
    return f"{loads} | {counts} | {waits}"


def soak(options: argparse.Namespace) -> None:
    """Print how the memory of all processes develops at 70 % of the top load."""
    request, statuses = json_images(1), Counter[int]()
    with running(CLUSTNET, options.bundle, SERVER_CORE) as (url, process):
        rate = PART * _least_top_load(url, request, options)
        minutes, megabytes = _watched(process, lambda: statuses.update(_statuses(url, request, rate, options)))
    slope, error = _slope(minutes, megabytes)
    print("| sent a second | minutes | 200 | 503 | others | memory at start, MB | at the end | slope, MB a minute |")
    print("|---|---|---|---|---|---|---|---|")
    good, refused = statuses[200], statuses[503]
    answers = f"{good:,} | {refused:,} | {statuses.total() - good - refused:,}"
    memory = f"{megabytes[0]:.1f} | {megabytes[-1]:.1f} | {slope:.4f} ± {error:.4f}"
    print(f"| {rate:,.0f} | {options.minutes:g} | {answers} | {memory} |")


def _least_top_load(url: str, request: Request, options: argparse.Namespace) -> float:
    """Return the least top load of the warm-up's minutes, as the speed of a shared machine changes."""
    least = float("inf")
    for _ in range(WARM_UP_MINUTES):
        least = min(least, top_load(url, request, CLIENTS, options.seconds, CLIENT_CORE))
        steady_load(url, request, PART * least, 60)
    return least


def gpu(options: argparse.Namespace) -> None:
    """Print the speed on a GPU, or exit if onnxruntime fell back to the CPU."""
    print("| batch | onnxruntime, images/s | IO binding | CUDA graph | ClustNet, images/s | ClustNet / onnxruntime |")
    print("|---|---|---|---|---|---|")
    settings = {"CLUSTNET_DEVICE": "cuda"}
    for batch in GPU_BATCHES:
        ways = ("run", "binding", "graph")
        loops = [_raw_loop(options, batch, SERVER_CORE, way) for way in ways]
        # The status is 200 only if CUDA is in use.
        ready = Request("/readyz", b"", {})
        with running(CLUSTNET, options.bundle, SERVER_CORE, settings, ready) as (url, _):
            _check_provider(send(url, Request("/metrics", b"", {})).text)
            ours = batch * top_load(url, binary_v2(batch), CLIENTS, options.seconds, CLIENT_CORE)
        cells = " | ".join(f"{rate:,.0f}" for rate in (*loops, ours))
        print(f"| {batch} | {cells} | {ours / loops[0]:.2f} |", flush=True)


def rpc(options: argparse.Namespace) -> None:
    """Print the top load of gRPC with one image, beside HTTP and MLServer's gRPC."""
    servers = [server for server in (CLUSTNET, MLSERVER) if _is_there(server)]
    turns = [[load for server in servers for load in _rpc_and_http(server, options)] for _ in range(options.turns)]
    rates = np.array(turns)
    print("| one image, one core | gRPC, requests/s | HTTP, requests/s | gRPC / HTTP | ClustNet's gRPC / its gRPC |")
    print("|---|---|---|---|---|")
    for index, server in enumerate(servers):
        over_rpc, over_http = rates[:, 2 * index], rates[:, 2 * index + 1]
        columns = np.array([over_rpc, over_http, over_rpc / over_http, rates[:, 0] / over_rpc]).T
        one, other, ratio, ours = _median(columns)
        print(f"| {server.name} | {one:,.0f} | {other:,.0f} | {ratio:.2f} | {ours:.2f} |")


def _rpc_and_http(server: Server, options: argparse.Namespace) -> tuple[float, float]:
    """Return the requests per second, with one image each, over gRPC and over HTTP."""
    port = free_port()
    with running(server, options.bundle, SERVER_CORE, {"CLUSTNET_GRPC_PORT": str(port)}) as (url, _):
        over_rpc = top_load(f"http://127.0.0.1:{port}", rpc_message(1), CLIENTS, options.seconds, CLIENT_CORE)
        return over_rpc, top_load(url, server.bytes_of(1), CLIENTS, options.seconds, CLIENT_CORE)


CPU_TABLES = {
    "compare": compare,
    "workers": workers,
    "rpc": rpc,
    "latency": latency,
    "overload": overload,
    "soak": soak,
}
TABLES: dict[str, Callable[[argparse.Namespace], None]] = {**CPU_TABLES, "gpu": gpu}


def _is_there(server: Server) -> bool:
    if not server.python.exists():
        print(f"({server.name} is left out: it has no environment; 'make bench-serving' installs it)\n", flush=True)
    return server.python.exists()


def _top_loads(server: Server, options: argparse.Namespace) -> list[float]:
    """Return images per second in batches of 64, and requests per second with one image, in bytes and in JSON."""
    with running(server, options.bundle, SERVER_CORE) as (url, _):
        requests = ((BATCH, server.bytes_of(BATCH)), (1, server.bytes_of(1)), (1, server.json_of(1)))
        return [n * top_load(url, request, CLIENTS, options.seconds, CLIENT_CORE) for n, request in requests]


def _raw_loop(options: argparse.Namespace, batch: int, cores: Sequence[int], way: str = "run") -> float:
    return _rate(options, _start_loop(options, batch, cores, way))


def _raw_loops(options: argparse.Namespace, count: int) -> list[float]:
    """Return the images per second of each of ``count`` loops at the same time, each on its own core."""
    loops = [_start_loop(options, BATCH, [core]) for core in BOTH[:count]]
    return [_rate(options, loop) for loop in loops]


def _start_loop(
    options: argparse.Namespace, batch: int, cores: Sequence[int], way: str = "run"
) -> "subprocess.Popen[str]":
    what = [str(batch), str(options.seconds), options.device, way]
    command = [sys.executable, "-m", "benchmarks.peers.raw_loop", *what]
    own = environment(options.bundle, ".")
    return subprocess.Popen(pinned(command, cores), env=own, stdout=subprocess.PIPE, text=True)


def _wait_for_workers(url: str, count: int) -> None:
    """Wait until all workers are there, as the first would keep all connections that are opened before."""
    limit = f"clustnet_requests_in_flight_limit {float(count * Limits().requests)}"
    while limit not in send(url, Request("/metrics", b"", {})).text:
        time.sleep(0.1)
    # The last one does not listen at once.
    time.sleep(1)


def _rate(options: argparse.Namespace, loop: "subprocess.Popen[str]") -> float:
    """Return the images per second that a loop has measured."""
    output, _ = loop.communicate()
    if loop.returncode:
        raise SystemExit("The loop of onnxruntime failed; its error stands above.")
    # onnxruntime may write warnings before the last line.
    provider, rate = output.splitlines()[-1].split()
    if options.device == "cuda":
        _check_provider(provider)
    return float(rate)


def _check_provider(text: str) -> None:
    if CUDA not in text:
        raise SystemExit("onnxruntime fell back to the CPU; install NVIDIA's driver, CUDA and cuDNN for it.")


def _seconds(url: str, request: Request) -> float:
    start = time.perf_counter()
    send(url, request).raise_for_status()
    return time.perf_counter() - start


def _only(answers: Answers, status: int) -> None:
    if set(answers.statuses) != {status}:
        raise RuntimeError(f"There were answers other than {status}: {dict(answers.statuses)}")


def _statuses(url: str, request: Request, rate: float, options: argparse.Namespace) -> Counter[int]:
    return steady_load(url, request, rate, 60 * options.minutes).statuses


def _watched(process: "subprocess.Popen[bytes]", work: Callable[[], None]) -> tuple[list[float], list[float]]:
    """Do ``work``, and return the minutes and the process's MiB at each sample."""
    minutes, megabytes = [], []
    thread, start = threading.Thread(target=work), time.monotonic()
    thread.start()
    while thread.is_alive():
        minutes.append((time.monotonic() - start) / 60)
        megabytes.append(_memory(process) / 2**20)
        thread.join(SAMPLE_SECONDS)
    return minutes, megabytes


def _computed(process: "subprocess.Popen[bytes]") -> float:
    """Return the seconds of a core that a process and all its children have used."""
    times = [each.cpu_times() for each in _family(process)]
    return float(sum(each.user + each.system for each in times))


def _memory(process: "subprocess.Popen[bytes]") -> int:
    """Return the resident bytes of a process and all its children."""
    return sum(each.memory_info().rss for each in _family(process))


def _family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Return a process and all its children."""
    first = psutil.Process(process.pid)
    return [first, *first.children(recursive=True)]


def _slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return the slope of a line through the points, and its standard error."""
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


def _median(turns: np.ndarray) -> np.ndarray:
    return np.asarray(np.median(turns, axis=0))


if __name__ == "__main__":
    main()
