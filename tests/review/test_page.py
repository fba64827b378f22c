"""The page in a real headless Chromium, over a real server."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.chromium import CHROMIUM, drag, headless
from tests.review.runs import write_run

REPOSITORY = Path(__file__).resolve().parents[2]
# In milliseconds; a busy machine is no fault.
PATIENCE = 60_000
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 360, "height": 740}

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}; install Debian's chromium")


class Server:
    """``clustnet review`` in a process of its own."""

    def __init__(self, run: Path, port: int = 0) -> None:
        command = [sys.executable, "-m", "clustnet", "review", str(run), "--port", str(port)]
        self.process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.said = [self.process.stdout.readline() for _ in range(2)]
        found = re.search(r"http://\S+", self.said[1])
        assert found, self.said
        self.url = found[0]

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with headless() as browser:
        yield browser


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "photos", 24)


@pytest.fixture
def server(run: Path) -> Iterator[Server]:
    server = Server(run)
    yield server
    if server.process.poll() is None:
        server.kill(signal.SIGINT)


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Open the page; at the end, nothing was wrong in it and no other host was asked."""
    faults: list[str] = []
    contexts = []
    expect.set_options(timeout=PATIENCE)

    def open_page(view: str = "", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.on("request", lambda request: "//127.0.0.1:" in request.url or faults.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        # Chromium itself logs this for every answer that is not 2xx.
        page.on("console", lambda said: "Failed to load" in said.text or faults.append(said.text))
        page.goto(f"{server.url}{view}")
        expect(page.locator("body")).to_have_class(re.compile("ready"))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


Open = Callable[..., Page]


def titles(page: Page) -> list[str]:
    return page.locator(".subtype .title").all_inner_texts()


def name(page: Page, text: str) -> None:
    page.get_by_label("Name", exact=True).fill(text)
    page.keyboard.press("Enter")


def test_a_subtype_is_named_by_keys(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("n")
    name(page, "red cat")
    expect(page.locator(".subtype .title").first).to_have_text("red cat")
    page.reload()
    expect(page.locator(".subtype .title").first).to_have_text("red cat")
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()


def test_merge_undo_and_redo(open_page: Open) -> None:
    page = open_page()
    for number in range(2):
        page.locator(".pick").nth(number).click()
    page.keyboard.press("m")
    expect(page.locator(".subtype")).to_have_count(3)
    page.keyboard.press("u")
    expect(page.locator(".subtype")).to_have_count(4)
    page.keyboard.press("Control+Shift+z")
    expect(page.locator(".subtype")).to_have_count(3)


def test_a_subtype_is_split(open_page: Open) -> None:
    page = open_page()
    page.locator(".subtype").first.get_by_role("button", name="Split").click()
    page.get_by_role("dialog").get_by_role("button", name="Split").click()
    expect(page.locator(".subtype")).to_have_count(5)
    assert "animals/3" in titles(page)


def test_images_are_moved_by_keys(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("ArrowDown")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
    expect(page.locator("#chosen")).to_have_text("2 images selected")
    page.keyboard.press("v")
    page.keyboard.type("vehicles/2")
    page.keyboard.press("Enter")
    expect(page.locator(".subtype", has_text="vehicles/2").locator(".numbers").last).to_have_text(
        re.compile("^8 images")
    )


def test_images_become_a_new_subtype(open_page: Open) -> None:
    page = open_page()
    page.locator(".tile").first.click()
    page.keyboard.press("v")
    page.get_by_role("button", name="New subtype of vehicles").click()
    expect(page.locator(".subtype", has_text="vehicles/3")).to_have_count(1)


def test_a_marked_image_is_shown_so(open_page: Open) -> None:
    page = open_page()
    page.locator(".tile").first.click()
    page.keyboard.press("w")
    expect(page.locator(".tile.out")).to_have_count(1)
    page.locator(".tile.out").click()
    page.keyboard.press("w")
    expect(page.locator(".tile.out")).to_have_count(0)


def test_the_slider_cuts_the_tree(open_page: Open) -> None:
    page = open_page()
    page.get_by_label("Merge the nearest subtypes").fill("200")
    expect(page.locator("#cut-words")).to_have_text("4 subtypes become 2")
    page.get_by_role("button", name="Merge these").click()
    expect(page.locator(".subtype")).to_have_count(2)


def test_lists_take_one_key_a_decision(open_page: Open, run: Path) -> None:
    page = open_page()
    page.keyboard.press("3")
    expect(page.locator("#suspects")).to_contain_text("a model that was not trained on it says animals")
    page.keyboard.press("y")
    expect(page.locator("#suspects")).to_contain_text("No suspects are left.")
    page.locator("#duplicates").focus()
    page.keyboard.press("d")
    expect(page.locator("#duplicates")).to_contain_text("No near duplicates are left.")
    expect(page.get_by_role("tab", name="To decide")).to_have_text("To decide")
    assert [line.count('"mark": "wrong_label"') for line in (run / "review.jsonl").read_text().splitlines()] == [
        0,
        1,
        0,
    ]


def test_the_lasso_selects_images(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("2")
    expect(page.locator("#map-state")).to_have_text(re.compile("^Drag around"))
    drag(page, "#canvas", [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)])
    expect(page.locator("#chosen")).to_have_text("24 images selected")


def test_two_tabs_see_one_another(open_page: Open) -> None:
    one, other = open_page(), open_page()
    one.locator(".pick").first.click()
    one.keyboard.press("n")
    name(one, "cat")
    expect(one.locator(".subtype .title").first).to_have_text("cat")
    # Before the other tab has looked.
    other.route("**/state?after=*", lambda route: route.abort())
    other.locator(".pick").nth(1).click()
    other.keyboard.press("n")
    name(other, "dog")
    expect(other.get_by_role("alert")).to_have_text(re.compile("Somebody else changed this review|does not answer"))
    expect(other.locator(".subtype .title").first).to_have_text("cat")


def test_a_name_that_is_taken_is_refused(open_page: Open) -> None:
    page = open_page()
    for number in range(2):
        page.locator(".subtype").nth(number).get_by_role("button", name="Name").click()
        name(page, "cat")
    expect(page.get_by_role("alert")).to_have_text(re.compile("The name 'cat' already belongs to animals/1"))


def test_an_action_waits_for_the_one_before(open_page: Open) -> None:
    page = open_page()
    held: list[Route] = []
    page.route("**/do", lambda route: held.append(route))  # Playwright takes no builtin
    for number, text in enumerate(("cat", "dog")):
        page.locator(".subtype").nth(number).get_by_role("button", name="Name").click()
        name(page, text)
    page.wait_for_timeout(100)
    assert len(held) == 1
    with page.expect_request("**/do"):
        held[0].continue_()
    expect(page.locator(".subtype .title").nth(0)).to_have_text("cat")
    held[1].continue_()
    expect(page.locator(".subtype .title").nth(1)).to_have_text("dog")


def test_a_double_click_is_one_action(open_page: Open) -> None:
    page = open_page()
    for text in ("cat", "lion"):
        page.locator(".subtype").first.get_by_role("button", name="Name").click()
        name(page, text)
        expect(page.locator(".subtype .title").first).to_have_text(text)
    held: list[Route] = []
    page.route("**/do", lambda route: held.append(route))  # Playwright takes no builtin
    page.get_by_role("button", name="Undo").dblclick()
    page.wait_for_timeout(100)
    held[0].continue_()
    expect(page.locator(".subtype .title").first).to_have_text("cat")
    expect(page.locator("body")).not_to_have_class(re.compile("busy"))
    assert len(held) == 1


def test_kill_loses_nothing(open_page: Open, server: Server, run: Path, browser: Browser) -> None:
    page = open_page()
    page.locator(".pick").first.click()
    page.keyboard.press("n")
    name(page, "cat")
    expect(page.locator(".subtype .title").first).to_have_text("cat")
    server.kill()
    page.keyboard.press("u")
    expect(page.get_by_role("alert")).to_have_text(re.compile("The server does not answer.*nothing is lost"))
    again = Server(run)
    page.goto(again.url)
    expect(page.locator(".subtype .title").first).to_have_text("cat")
    again.kill(signal.SIGINT)
    assert again.process.returncode == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_everyone_can_use_it(open_page: Open, scheme: str, size: dict[str, int]) -> None:
    page = open_page(color_scheme=scheme, viewport=size)
    for view in ("overview", "map", "lists"):
        page.locator(f"#tab-{view}").click()
        if view == "map":
            expect(page.locator("#map-state")).to_have_text(re.compile("^Drag around"))
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        assert violations(page) == []
    page.locator("#tab-overview").click()
    page.locator(".tile").first.click()
    assert violations(page) == []
    page.keyboard.press("v")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []


def violations(page: Page) -> list[str]:
    """Return what axe-core finds on the page."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]


@pytest.mark.slow
def test_ten_thousand_images_open(tmp_path: Path, browser: Browser) -> None:
    server = Server(write_run(tmp_path / "photos", 10_000))
    expect.set_options(timeout=PATIENCE)
    with browser.new_context(viewport=DESKTOP) as context:
        page = context.new_page()
        page.goto(server.url)
        expect(page.locator("#run")).to_have_text("photos: 10,000 images, 4 subtypes")
        page.locator(".subtype").first.get_by_role("button", name="Show all").click()
        expect(page.locator(".subtype").first.locator(".tile")).to_have_count(200)
        for number in range(2):
            page.locator(".pick").nth(number).click()
        page.keyboard.press("m")
        expect(page.locator(".subtype")).to_have_count(3)
        page.keyboard.press("2")
        expect(page.locator("#map-state")).to_have_text(re.compile("^Drag around"), timeout=4 * PATIENCE)
    server.kill(signal.SIGINT)
