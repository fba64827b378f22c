import re
from pathlib import Path

import pytest

import clustnet.pages

PAGES = Path(clustnet.pages.__file__).parent


def served() -> list[dict[str, str]]:
    """Return the colours of the served pages, by light and by dark."""
    light, dark = (PAGES / "static" / "palette.css").read_text().split(":root {")[1:3]
    return [dict(re.findall(r"--([\w-]+): (#\w{6});", part.split("}")[0])) for part in (light, dark)]


def written() -> list[dict[str, str]]:
    """Return the colours of the written pages, by light and by dark."""
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", (PAGES / "templates" / "page.css").read_text())
    return [{name: pair[theme] for name, *pair in found} for theme in (0, 1)]


@pytest.mark.parametrize("colours", served())
def test_texts_stand_out_on_served_pages(colours: dict[str, str]) -> None:
    for ground in ("paper", "card"):
        assert min(contrast(colours[text], colours[ground]) for text in ("ink", "soft", "accent")) >= 4.5
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    assert contrast(colours["ink"], colours["track"]) >= 4.5


@pytest.mark.parametrize("colours", written())
def test_texts_stand_out_on_written_pages(colours: dict[str, str]) -> None:
    for ground in ("page", "card"):
        assert min(contrast(colours[text], colours[ground]) for text in ("ink", "muted", "accent")) >= 4.5
    assert contrast(colours["warning-ink"], colours["warning"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
