"""Strokes on the page's pad, for tests and for tools/screenshot.py."""

from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Page

CHROMIUM = Path("/usr/bin/chromium")


def draw(page: Page, points: Sequence[tuple[float, float]]) -> None:
    """Draw a stroke through points, shares of the pad's width and height."""
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()
