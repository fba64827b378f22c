"""Debian's Chromium, for tests of pages and for tools."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")


@contextmanager
def headless() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


def drag(page: Page, element: str, points: Sequence[tuple[float, float]], steps: int = 5, release: bool = True) -> None:
    """Drag the mouse through points, shares of an element's width and height, in so many steps from one to the next."""
    box = page.locator(element).bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=steps)
    if release:
        page.mouse.up()
