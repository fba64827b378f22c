"""Strokes on the page's pad, for tests and for tools/screenshot.py."""

from collections.abc import Sequence

from playwright.sync_api import Page

from tests.chromium import drag


def draw(page: Page, points: Sequence[tuple[float, float]]) -> None:
    """Draw a stroke through points, shares of the pad's width and height."""
    page.locator("#pad").scroll_into_view_if_needed()
    drag(page, "#pad", points)
