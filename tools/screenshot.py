"""Take docs/images/page.png of a running service, with a digit drawn, or docs/images/photographs.png with image files.

Run by hand: python -m tools.screenshot [URL [FILE ...]]
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.chromium import headless
from tests.serving.drawing import draw

REPOSITORY = Path(__file__).resolve().parents[1]
SERVICE = "http://127.0.0.1:3000"
REST_MILLISECONDS = 1000
COLOURS = 256
# A three, as shares of the pad's side.
STROKE = (
    *((0.30, 0.27), (0.35, 0.19), (0.45, 0.15), (0.56, 0.16), (0.64, 0.23), (0.65, 0.32), (0.60, 0.40), (0.51, 0.45)),
    *((0.45, 0.46), (0.56, 0.48), (0.65, 0.55), (0.69, 0.65), (0.66, 0.76), (0.57, 0.83), (0.45, 0.85), (0.31, 0.78)),
)


def main(url: str, *files: str) -> None:
    """Open the page, draw or give it the files, wait for the answers and save the picture."""
    with headless() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 850}, device_scale_factor=1.5)
        page.goto(url)
        if files:
            _give(page, *files)
        else:
            page.locator("#strip button").last.wait_for()
            draw(page, STROKE)
        page.get_by_text("Answered in").wait_for()
        # The bars have come to rest by then.
        page.wait_for_timeout(REST_MILLISECONDS)
        picture = Image.open(io.BytesIO(page.screenshot())).quantize(COLOURS)
        picture.save(REPOSITORY / "docs" / "images" / ("photographs.png" if files else "page.png"), optimize=True)


def _give(page: Page, *files: str) -> None:
    page.locator("#drop").wait_for()
    page.locator("#file").set_input_files(files)
    page.locator("#results button").nth(len(files) - 1).wait_for()


if __name__ == "__main__":
    main(*(sys.argv[1:] or [SERVICE]))
