"""The page of a model of photographs, in a real headless Chromium."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, Route, expect

from tests.chromium import CHROMIUM
from tests.serving.conftest import KINDS, drift_of
from tests.serving.images import encoded
from tests.serving.server import running_service
from tests.synthetic import with_examples, write_bundle

# In milliseconds; a busy machine is no fault.
PATIENCE = 60_000
DESKTOP, PHONE = {"width": 1280, "height": 860}, {"width": 360, "height": 740}
COLOURS = [f"hsl({24 * number}, 100%, 50%)" for number in range(15)]
# Chromium itself logs this for every answer that is not 2xx.
STARTED_WRONG = "Failed to load resource"

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}; install Debian's chromium")
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service of a model of colour photographs with examples, which takes feedback."""
    folder, kind = tmp_path_factory.mktemp("photos"), KINDS["three"]
    bundle = with_examples(write_bundle(folder / "photos", name="photos", drift=drift_of(kind), **kind), *COLOURS)
    with running_service(bundle, CLUSTNET_FEEDBACK=str(folder / "feedback.sqlite")) as url:
        yield url


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[Open]:
    """Open the page; at the end, nothing was wrong in it."""
    faults: list[str] = []
    pages: list[Page] = []
    expect.set_options(timeout=PATIENCE)

    def open_page(**options: Any) -> Page:
        page = browser.new_page(**{"viewport": DESKTOP} | options)
        pages.append(page)
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: said.text.startswith(STARTED_WRONG) or faults.append(said.text))
        page.goto(url)
        expect(page.locator("#model-name")).to_have_text("photos, version 1")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert faults == []


def photograph(colour: str, size: tuple[int, int] = (60, 40)) -> FilePayload:
    return {"name": f"{colour}.png", "mimeType": "image/png", "buffer": encoded(Image.new("RGB", size, colour), "PNG")}


def give(page: Page, *files: FilePayload) -> None:
    page.locator("#file").set_input_files(list(files))


def middle_of(canvas: Locator) -> list[int]:
    """Return red, green and blue in the middle of a canvas."""
    read = "c => [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data].slice(0, 3)"
    colour: list[int] = canvas.evaluate(read)
    return colour


def guess_of(url: str, file: FilePayload) -> str:
    answer = httpx.post(f"{url}/predict_image", files={"image": file["buffer"]}).json()
    return "abstains" if answer["prediction"]["abstain"] else answer["prediction"]["guess"]["label"]


def test_files_are_answered_in_turn(open_page: Open, url: str) -> None:
    page, asked, answered = open_page(), [0], [0]

    def count(route: Route) -> None:
        assert asked == answered
        asked[0] += 1
        route.continue_()

    page.route("**/predict_image", count)
    page.on("response", lambda response: answered.__setitem__(0, answered[0] + ("predict" in response.url)))
    files = [photograph("red"), photograph("blue"), photograph("lime", (30, 90))]
    text: FilePayload = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}
    give(page, *files, text)
    results = page.locator("#results button")
    expect(results).to_have_text([*(guess_of(url, file) for file in files), "refused"])
    assert asked == [4]
    # Of the refused file there is nothing but the reason.
    expect(page.get_by_role("alert")).to_have_text(re.compile("^notes.txt: The file is not a PNG"))
    expect(page.locator("#guess")).to_have_text("?")
    expect(page.locator("#picture canvas")).to_have_count(0)
    expect(page.locator("#examples-card")).to_be_hidden()
    assert middle_of(page.locator("#prepared"))[:3] == [0, 0, 0]
    results.first.click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.get_by_role("img", name="Your image red.png")).to_be_visible()
    assert middle_of(page.locator("#picture canvas")) == [255, 0, 0]
    expect(page.locator("#results [aria-current=true]")).to_have_count(1)


def test_clear_forgets_what_waits(open_page: Open) -> None:
    page = open_page()
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        held.append(route)
        if len(held) > 1:
            route.continue_()

    page.route("**/predict_image", hold_the_first)
    with page.expect_request("**/predict_image"):
        give(page, photograph("red"), photograph("blue"))
    expect(page.locator("#waiting")).to_have_text("2 to go.")
    page.get_by_role("button", name="Clear").click()
    with page.expect_response("**/predict_image"):
        held[0].continue_()
    give(page, photograph("lime"))
    expect(page.get_by_role("img", name="Your image lime.png")).to_be_visible()
    assert (page.locator("#results button").count(), len(held)) == (1, 2)


def test_too_many_files_are_left_out(open_page: Open) -> None:
    page = open_page()
    page.route("**/predict_image", lambda _: None)
    give(page, *[photograph("red")] * 203)
    expect(page.locator("#waiting")).to_have_text(re.compile("^200 to go. 3 left out, as this page keeps 200;"))


def test_a_dropped_folder_is_named(open_page: Open) -> None:
    page = open_page()
    drop = """() => {
        const folder = new File([], "photos");
        folder.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException("It is a folder.")) });
        const event = new Event("drop", { bubbles: true, cancelable: true });
        event.dataTransfer = { files: [folder] };
        document.body.dispatchEvent(event);
    }"""
    page.evaluate(drop)
    expect(page.get_by_role("alert")).to_have_text("photos: it cannot be read; drop files, not folders.")


def test_typical_images_stand_beside_an_answer(open_page: Open, url: str) -> None:
    page = open_page()
    page.evaluate("sessionStorage.setItem('clustnet-api-key', 'secret')")
    names = [subtype["name"] for subtype in httpx.get(f"{url}/model.json").json()["subtypes"]]
    with page.expect_request("**/examples/*/0.jpg") as asked:
        give(page, photograph("red"))
    assert asked.value.headers["x-api-key"] == "secret"
    guess = page.locator("#guess").inner_text()
    title, examples = page.locator("#examples-title"), page.locator("#examples canvas")
    expect(title).to_have_text(re.compile(f"^(Looks like these:|Typical images of) {guess}$"))
    expect(examples).to_have_count(2)
    assert asked.value.url == f"{url}/examples/{names.index(guess)}/0.jpg"
    page.get_by_role("button", name=names[10], exact=True).click()
    expect(title).to_have_text(f"Typical images of {names[10]}")
    expect(page.get_by_role("img", name=f"Typical image 1 of {names[10]}")).to_be_visible()
    # JPEG is not exact.
    assert middle_of(examples.first) == pytest.approx([0, 0, 255], abs=8)
    # Of the last expert and the first coarse label.
    page.locator("#routing .cell").nth(12).click()
    expect(title).to_have_text(f"Typical images of {names[4]}")


def test_an_abstention_comes_first(open_page: Open) -> None:
    page = open_page()

    def abstain(route: Route) -> None:
        answer = route.fetch()
        changed = answer.json()
        changed["prediction"] |= {"abstain": True, "confidence": 0.4999}
        route.fulfill(response=answer, json=changed)

    page.route("**/predict_image", abstain)
    give(page, photograph("red"))
    words = re.compile(r"^\s*The model abstains\. Confidence 0\.4999, under the limit of 0\.5000\. Its guess would be:")
    expect(page.locator("#said")).to_have_text(words)
    expect(page.locator("#guess")).to_have_class(re.compile("doubted"))
    expect(page.locator("#examples-title")).to_have_text(re.compile("^Typical images of"))
    expect(page.locator("#results")).to_have_text("abstains")
    page.unroute("**/predict_image")


def test_a_wrong_answer_is_corrected(open_page: Open, url: str) -> None:
    page = open_page()
    give(page, photograph("red"), photograph("blue"))
    expect(page.locator("#results button")).to_have_count(2)
    expect(page.locator("#picture canvas")).to_have_count(1)
    page.get_by_text("This is wrong").click()
    choice = page.get_by_label("It is")
    names = choice.locator("option").all_inner_texts()[1:]
    assert (len(names), page.locator("#guess").inner_text() in names) == (14, False)
    choice.select_option(names[0])
    page.get_by_role("button", name="Send").click()
    said = f"Thank you. The service has recorded that this is {names[0]}."
    expect(page.locator("#feedback-note")).to_have_text(said)
    counted = re.compile(r'^clustnet_feedback_total\{correct="false",model="photos",version="1"\} 1.0$', re.MULTILINE)
    assert counted.search(httpx.get(f"{url}/metrics").text)
    results = page.locator("#results button")
    results.first.click()
    expect(page.locator("#feedback-note")).to_be_hidden()
    results.last.click()
    expect(page.locator("#feedback-note")).to_have_text(said)


def test_little_traffic_is_told_with_drift(open_page: Open) -> None:
    page = open_page()
    give(page, photograph("red"))
    expect(page.locator("#results button")).to_have_count(1)
    page.get_by_role("tab", name="Live").click()
    few = re.compile(r"^No sign of drift yet, but the last( \d+)? images? (is|are) few to tell from\.$")
    expect(page.locator("#live [role=status]")).to_have_text(few)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_everyone_can_use_it(open_page: Open, scheme: str, size: dict[str, int]) -> None:
    page = open_page(color_scheme=scheme, viewport=size)
    below = [page.locator(part).bounding_box() for part in ("#drop", "#choose", ".verdict")]
    if size is PHONE:
        heights = [box["y"] for box in below if box]
        assert heights == sorted(heights)
    assert violations(page) == []
    give(page, photograph("red"), photograph("blue"))
    expect(page.locator("#results button")).to_have_count(2)
    expect(page.locator("#examples canvas")).to_have_count(2)
    page.get_by_text("This is wrong").click()
    for tab in ("Image", "Model", "Live"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        assert violations(page) == []


def violations(page: Page) -> list[str]:
    """Return what axe-core finds on the page."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]
