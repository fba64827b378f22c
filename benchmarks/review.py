"""What the review's page takes with many images: seconds to open, memory, frames a second of the map.

A run of as many images of noise is written, the real command serves it, and a headless Chromium opens the page and
moves the map in every frame. Chromium draws without a graphics card.
"""

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import psutil
from playwright.sync_api import Page, expect

from tests.chromium import drag, headless
from tests.review.runs import write_run

PATIENCE = 600_000
FRAMES_SECONDS = 5
# Moves the map by its own keys, and counts the frames that were shown meanwhile.
COUNT_FRAMES = """
milliseconds => new Promise(resolve => {
  const canvas = document.getElementById("canvas");
  const begin = performance.now();
  const times = [];
  const frame = now => {
    times.push(now);
    if (now - begin > milliseconds) return resolve(times);
    const key = times.length % 2 ? "ArrowLeft" : "ArrowRight";
    canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})
"""
LASSO = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)]


def main() -> None:
    """Measure, and print a row of the table in docs/review.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder) / "run", images)
        command = [sys.executable, "-m", "clustnet", "review", str(run)]
        began = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            said = [server.stdout.readline() for _ in range(2)]
            found = re.search(r"http://\S+", said[1])
            assert found, said
            print(f"{images:,} images: listening after {time.monotonic() - began:.1f} s")
            _measure(found[0], psutil.Process(server.pid))
            server.send_signal(signal.SIGINT)


def _measure(url: str, server: psutil.Process) -> None:
    with headless() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        expect.set_options(timeout=PATIENCE)
        began = time.monotonic()
        page.goto(url)
        expect(page.locator("body")).to_have_class(re.compile("ready"), timeout=PATIENCE)
        print(f"page shows the subtypes after {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        page.locator("#tab-map").click()
        expect(page.locator("#map-state")).to_have_text(re.compile("^Drag"))
        print(f"map made after {time.monotonic() - began:.1f} s")
        times = page.evaluate(COUNT_FRAMES, FRAMES_SECONDS * 1000)
        steps = sorted(later - earlier for earlier, later in pairwise(times))
        slow = steps[int(0.95 * len(steps))]
        print(f"{len(steps) / FRAMES_SECONDS:.0f} frames a second, 95 % of them within {slow:.0f} ms")
        _act(page)
        heap = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
        print(f"server {server.memory_info().rss / 2**20:.0f} MiB, page {heap:.0f} MiB of JavaScript's heap")


def _act(page: Page) -> None:
    """Select with a lasso, and name a subtype, each with its time."""
    drag(page, "#canvas", LASSO, steps=10, release=False)
    began = time.monotonic()
    page.mouse.up()
    expect(page.locator("#chosen")).to_have_text(re.compile("selected"))
    print(f"lasso: {page.locator('#chosen').inner_text()} in {time.monotonic() - began:.2f} s")
    page.keyboard.press("Escape")
    page.locator("#tab-overview").click()
    page.locator(".subtype").first.get_by_role("button", name="Name").click()
    page.get_by_label("Name", exact=True).fill("a name")
    began = time.monotonic()
    page.keyboard.press("Enter")
    expect(page.locator(".subtype .title").first).to_have_text("a name")
    print(f"a name is kept and shown after {time.monotonic() - began:.2f} s")


if __name__ == "__main__":
    main()
