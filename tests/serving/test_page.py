"""The page in a real headless Chromium, over a real service that serves models/mnist."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from clustnet.bundles.bundle import Bundle
from clustnet.bundles.evaluation_file import EVALUATION
from clustnet.datasets import LabelledImages
from serving.keys.keys import make_key
from serving.settings import SHIPPED_BUNDLE
from tests.chromium import CHROMIUM
from tests.serving.conftest import KINDS
from tests.serving.drawing import draw
from tests.serving.images import drawing
from tests.serving.server import REPOSITORY, running_service
from tests.synthetic import with_evaluation, write_bundle

# In milliseconds; a busy machine is no fault.
PATIENCE = 60_000
SEVEN = [(0.25, 0.22), (0.72, 0.2), (0.58, 0.5), (0.44, 0.84)]
# Chromium itself logs this for every answer that is not 2xx.
STARTED_WRONG = "Failed to load resource"

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}; install Debian's chromium")
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    bundle = Path(shutil.copytree(REPOSITORY / "models" / "mnist", tmp_path_factory.mktemp("bundle") / "mnist"))
    if EVALUATION not in Bundle(bundle).manifest.files:
        with_evaluation(bundle)
    with running_service(bundle) as url:
        yield url


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[Open]:
    """Open the page; at the end, nothing was wrong in it and no other host was asked."""
    faults: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    context.on("request", lambda request: request.url.startswith(url) or faults.append(request.url))

    def open_page(view: str = "", **changes: Any) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: said.text.startswith(STARTED_WRONG) or faults.append(said.text))
        if changes:
            page.route("**/model.json", lambda route: change_model(route, changes))
        page.goto(f"{url}/{view}")
        expect(page.locator("#model-name")).to_have_text(re.compile("version"))
        return page

    yield open_page
    context.close()
    assert faults == []


def change_model(route: Route, changes: dict[str, Any]) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, json=answer.json() | changes)


def subtypes(name: str) -> list[dict[str, Any]]:
    """Ten subtypes of the coarse labels of digits, named so with their number."""
    return [{"name": name.format(i), "coarse_label": "0-4" if i < 5 else "5-9", "named": True} for i in range(10)]


def widths(page: Page) -> list[float]:
    return [bar.bounding_box()["width"] for bar in page.locator("#classes .fill").all()]  # type: ignore[index]


def test_a_stroke_shows_bars_and_guess(open_page: Open) -> None:
    page = open_page()
    expect(page.locator("#guess")).to_have_text("?")
    assert set(widths(page)) == {0}
    draw(page, SEVEN)
    expect(page.locator("#time")).to_have_text(re.compile(r"Answered in [\d.]+ ms"))
    expect(page.locator("#guess")).to_have_text("7")
    expect(page.locator("#classes .best .name")).to_have_text("7")
    expect(page.locator("#routing svg")).to_have_attribute("aria-label", re.compile("guess 7"))
    expect(page.locator("#reason")).to_have_text(re.compile(r"Confidence 0\.\d+, (above|under) the limit of 0\.\d+"))
    assert (page.locator("#prepared").get_attribute("width"), max(widths(page)) > 50) == ("28", True)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#guess")).to_have_text("?")
    expect(page.locator("#hint")).to_be_visible()


def test_a_finger_draws_as_well(browser: Browser, url: str) -> None:
    with browser.new_context(has_touch=True, viewport={"width": 360, "height": 740}) as context:
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#model-name")).to_have_text(re.compile("version"))
        page.locator("#pad").tap()
        expect(page.locator("#time")).to_have_text(re.compile("Answered"))
        for tab in ("Draw", "Model", "Live"):
            page.get_by_role("tab", name=tab).click()
            assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_test_digit_is_read_right(open_page: Open) -> None:
    page = open_page()
    for digit in ("7", "0", "4"):
        page.get_by_role("button", name=f"Test digit {digit}").first.click()
        expect(page.locator("#guess")).to_have_text(digit)
    expect(page.locator("#strip button")).to_have_count(20)
    expect(page.locator("#hint")).to_be_hidden()


def test_routing_lines_are_as_wide_as_weights(open_page: Open, url: str) -> None:
    page = open_page()
    with page.expect_response("**/predict") as asked:
        page.get_by_role("button", name="Test digit 2").first.click()
    prediction = asked.value.json()["predictions"][0]
    expect(page.locator("#guess")).to_have_text(prediction["guess"]["label"])
    top = page.locator("#routing .line.chosen").first.get_attribute("stroke-width")
    assert float(top or 0) == pytest.approx(1.5 + 14.5 * max(prediction["routing"]))
    expect(page.locator("#routing .cell.chosen")).to_have_text("2")
    expect(page.locator("#coarse .best .name")).to_have_text(prediction["coarse"]["label"])


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_an_image_file_is_predicted(open_page: Open, url: str, way: str) -> None:
    expected = httpx.post(f"{url}/predict_image", files={"image": drawing()}).json()["prediction"]
    page = open_page()
    give(page, way, drawing())
    expect(page.locator("#guess")).to_have_text(expected["guess"]["label"])
    expect(page.locator("#guess-probability")).to_have_text(f"{100 * expected['guess']['probability']:.1f}\u202f%")
    expect(page.locator("#stance")).to_have_text("The model abstains." if expected["abstain"] else "")


def give(page: Page, way: str, content: bytes) -> None:
    if way == "choose":
        page.locator("#file").set_input_files({"name": "digit.png", "mimeType": "image/png", "buffer": content})
        return
    make = (
        "bytes => { const d = new DataTransfer(); d.items.add(new File([new Uint8Array(bytes)], 'a.png')); return d }"
    )
    transfer = page.evaluate_handle(make, list(content))
    if way == "drop":
        page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    else:
        paste = "d => document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: d, bubbles: true}))"
        page.evaluate(paste, transfer)


def test_a_refusal_shows_until_the_next_answer(open_page: Open) -> None:
    page = open_page()
    draw(page, SEVEN)
    expect(page.locator("#guess")).to_have_text("7")
    page.locator("#file").set_input_files(REPOSITORY / "README.md")
    expect(page.get_by_role("alert")).to_have_text("The file is not a PNG, JPEG, WebP or BMP image; send one of these.")
    expect(page.locator("#guess")).to_have_text("?")
    # The stroke is gone as well.
    expect(page.locator("#hint")).to_be_visible()
    page.get_by_role("button", name="Test digit 7").first.click()
    expect(page.locator("#guess")).to_have_text("7")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_service_that_is_gone_is_a_sentence(open_page: Open) -> None:
    page = open_page()
    page.route("**/predict*", lambda route: route.abort())
    draw(page, SEVEN)
    expect(page.get_by_role("alert")).to_have_text("The service does not answer; is it still running?")
    page.route("**/metrics", lambda route: route.fulfill(status=500, body="<h1>oh</h1>"))
    page.get_by_role("tab", name="Live").click()
    expect(page.locator("#live .fault")).to_have_text(re.compile("answered with the status 500"))


def test_of_waiting_requests_the_newest_is_sent(open_page: Open) -> None:
    page = open_page()
    asked: list[Route] = []

    def hold_the_first(route: Route) -> None:
        asked.append(route)
        if len(asked) > 1:
            route.continue_()

    page.route("**/predict", hold_the_first)
    for digit in ("0", "1", "7"):
        page.get_by_role("button", name=f"Test digit {digit}").first.click()
    page.wait_for_timeout(200)
    assert len(asked) == 1
    expect(page.locator("#guess")).to_have_text("?")
    asked[0].continue_()
    expect(page.locator("#guess")).to_have_text("7")
    assert len(asked) == 2


def test_a_slow_answer_keeps_a_new_stroke(open_page: Open) -> None:
    page = open_page()
    held: list[Route] = []
    page.route("**/predict", lambda route: held.append(route), times=1)
    page.get_by_role("button", name="Test digit 0").first.click()
    page.wait_for_timeout(100)
    box = page.locator("#pad").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    # The answer comes at the same moment, before the stroke is sent.
    page.mouse.down()
    with page.expect_response("**/predict"):
        held[0].continue_()
    expect(page.locator("#time")).to_have_text(re.compile("Answered"))
    inked = """pad => {
        const { data } = pad.getContext("2d").getImageData(0, 0, pad.width, pad.height);
        return data.filter((value, at) => at % 4 === 3 && value > 0).length;
    }"""
    # It is a dot, and no digit.
    assert page.locator("#pad").evaluate(inked) < 3000
    page.mouse.up()


def test_a_second_finger_does_not_break_a_stroke(open_page: Open) -> None:
    page = open_page()
    fire = """(pad, [type, id, x]) => {
        pad.setPointerCapture = () => {};
        const { left, top, width, height } = pad.getBoundingClientRect();
        const [clientX, clientY] = [left + x * width, top + height / 2];
        const button = type === "pointermove" ? -1 : 0;
        pad.dispatchEvent(new PointerEvent(type, { pointerId: id, isPrimary: id === 1, button, clientX, clientY }));
    }"""
    pad = page.locator("#pad")
    for step in (["pointerdown", 1, 0.2], ["pointerdown", 2, 0.9], ["pointerup", 2, 0.9], ["pointermove", 1, 0.6]):
        pad.evaluate(fire, step)
    inked_at = "(pad, x) => pad.getContext('2d').getImageData(x * pad.width, pad.height / 2, 1, 1).data[3]"
    assert [pad.evaluate(inked_at, x) > 0 for x in (0.2, 0.4, 0.59, 0.9)] == [True, True, True, False]


def test_a_dropped_file_opens_the_image_tab(open_page: Open) -> None:
    page = open_page("#live")
    give(page, "drop", drawing())
    expect(page.get_by_role("tab", selected=True)).to_have_text("Draw")
    expect(page.locator("#time")).to_have_text(re.compile("Answered"))
    expect(page.locator("#time")).to_be_visible()


METRICS = """clustnet_requests_total{{path="/predict",status="200"}} {answered}
clustnet_requests_total{{path="/predict",status="503"}} {refused}
clustnet_request_seconds_sum{{path="/predict"}} {seconds}
clustnet_request_seconds_count{{path="/predict"}} {answered}
"""


def test_the_latency_is_of_timed_requests(open_page: Open) -> None:
    page = open_page()
    counts = iter([{"answered": 10, "refused": 0, "seconds": 0.1}, {"answered": 20, "refused": 990, "seconds": 0.3}])
    last = {"answered": 20, "refused": 990, "seconds": 0.3}
    page.route("**/metrics", lambda route: route.fulfill(body=METRICS.format(**next(counts, last))))
    page.get_by_role("tab", name="Live").click()
    tile = page.locator("#live .tile").nth(2)
    expect(tile.locator(".value")).to_have_text("20.00")
    expect(tile).to_contain_text("mean 15.00 ms since start")


def test_a_live_fault_is_read_out_once(open_page: Open) -> None:
    page = open_page()
    page.route("**/metrics", lambda route: route.abort())
    page.get_by_role("tab", name="Live").click()
    fault = page.locator("#live .fault")
    expect(fault).to_be_visible()
    changes = """fault => new Promise(resolve => {
        let changes = 0;
        const all = { childList: true, characterData: true, subtree: true };
        new MutationObserver(() => changes += 1).observe(fault, all);
        setTimeout(() => resolve(changes), 4500);
    })"""
    # The metrics were requested twice meanwhile.
    assert fault.evaluate(changes) == 0


def test_the_tabs_follow_the_keyboard_and_the_address(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("tab", name="Draw").focus()
    for key, tab in (("ArrowRight", "Model"), ("ArrowRight", "Live"), ("ArrowRight", "Draw"), ("End", "Live")):
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=tab)).to_be_focused()
        expect(page.get_by_role("tab", selected=True)).to_have_text(tab)
        expect(page.get_by_role("tabpanel")).to_have_count(1)
    assert page.url.endswith("#live")


def test_the_model_tab_shows_card_and_scores(open_page: Open, url: str) -> None:
    model = httpx.get(f"{url}/model.json").json()
    page = open_page("#model")
    panel = page.get_by_role("tabpanel")
    score = next(score for score in model["scores"] if score["name"] == "class_accuracy")
    row = panel.get_by_role("row", name="Class accuracy")
    expect(row).to_contain_text(f"{score['value']:.4f}")
    expect(row).to_contain_text(score["protocol"])
    expect(
        panel.get_by_text(f"seed {score['seed']}, on the {score['images']:,} images of the test split")
    ).to_be_visible()
    expect(panel.get_by_title(model["config_hash"])).to_be_visible()
    matrix, experts = panel.locator(".heat").all()
    shown = [[int(cell) for cell in row.locator("td").all_inner_texts()] for row in matrix.locator("tbody tr").all()]
    assert shown == model["evaluation"]["confusion"]
    expect(experts.locator("tbody tr")).to_have_count(model["experts"])
    expect(panel.locator(".budget circle")).to_have_count(len(model["evaluation"]["budget"]["points"]))


def test_the_live_tab_shows_drift_and_its_end(open_page: Open, url: str, mnist_test: LabelledImages) -> None:
    images = mnist_test.images[np.random.default_rng(0).permutation(10_000)[:2000]]
    page = open_page("#live")
    charts = page.locator(".shifts figure")
    expect(charts.locator("figcaption span:first-child")).to_have_text(
        ["Expert load", "Guessed class", "Confidence", "Brightness"]
    )
    assert [chart.locator("rect").count() for chart in charts.all()] == [5, 10, 10, 10]
    tell = page.locator("#live [role=status]")
    ask_for(url, 255 - images[:1000])
    expect(tell).to_have_text(
        re.compile(r"^Drift: in .*confidence and brightness the last [\d,]+ images differ from mnist:train")
    )
    brightness = charts.nth(3)
    expect(brightness).to_have_class("alarm")
    expect(brightness.locator("svg")).to_have_attribute("aria-label", re.compile(r"^Brightness: drift, PSI [1-9]"))
    last = brightness.locator("rect").last
    expect(last.locator("title")).to_have_text(re.compile("^from 0.178: (9[0-9]|100)[.].*usually 10.0"))
    assert float(last.get_attribute("height") or 0) > 10 * float(
        brightness.locator("rect").nth(5).get_attribute("height") or 1
    )
    ask_for(url, images)
    expect(tell).to_have_text(re.compile(r"^No sign of drift in the last (9\d\d|1,000) images\.$"))
    expect(page.locator(".shifts .alarm")).to_have_count(0)


def ask_for(url: str, images: NDArray[np.uint8]) -> None:
    for start in range(0, len(images), 500):
        body = {"images": images[start : start + 500].tolist()}
        httpx.post(f"{url}/predict", json=body, timeout=PATIENCE / 1000).raise_for_status()


def test_without_a_reference_drift_is_not_watched(open_page: Open) -> None:
    page = open_page("#live", drift=None)
    expect(
        page.get_by_text("This bundle holds no reference for drift; export its run again to watch drift.")
    ).to_be_visible()
    expect(page.locator(".shifts")).to_have_count(0)


def test_the_live_tab_counts_what_is_asked(open_page: Open, url: str) -> None:
    page = open_page("#live")
    httpx.post(f"{url}/predict", json={"images": [[[0] * 28] * 28] * 3})
    counted = httpx.get(f"{url}/metrics").text
    images = re.search(r"^clustnet_images_per_request_sum\{.*\} (\S+)$", counted, re.MULTILINE)
    assert images
    expect(page.get_by_text(f"{float(images[1]):,.0f} since start", exact=True).first).to_be_visible()
    expect(page.locator("#live .bars li")).to_have_count(5)
    expect(page.locator("#live .spark").first).to_have_attribute("points", re.compile(r"\S+ \S+"))


def test_a_colour_model_takes_files_alone(open_page: Open, url: str) -> None:
    colour = {"shape": [32, 32, 3], "dtype": "uint8", "meaning": "RGB, 0 to 255", "preparation": "resize"}
    page = open_page(input=colour, reads_digits=False, evaluation=None)
    expect(page.locator("#pad")).to_be_hidden()
    expect(page.locator("#strip")).to_be_hidden()
    pixels = [[[row, column, 7] for column in range(32)] for row in range(32)]
    file = REPOSITORY / "docs" / "digits" / "4.png"
    answer = httpx.post(f"{url}/predict_image", files={"image": file.read_bytes()}).json() | {"prepared": pixels}
    page.route("**/predict_image", lambda route: route.fulfill(json=answer))
    page.locator("#file").set_input_files(file)
    expect(page.locator("#guess")).to_have_text("4")
    expect(page.locator("#prepared")).to_have_attribute("width", "32")
    expect(page.locator("#prepared")).not_to_have_class("ink")


def test_grey_photographs_have_no_pad(open_page: Open) -> None:
    grey = {"shape": [28, 28], "dtype": "uint8", "meaning": "grey, 0 to 255", "preparation": "fit"}
    page = open_page(input=grey, reads_digits=False)
    expect(page.locator("#drop")).to_be_visible()
    expect(page.locator("#pad")).to_be_hidden()
    page.locator("#file").set_input_files(REPOSITORY / "docs" / "digits" / "4.png")
    # It is no ink, which the dark theme would invert.
    expect(page.locator("#prepared")).not_to_have_class("ink")
    opaque = (
        "canvas => canvas.getContext('2d').getImageData(0, 0, 28, 28).data.every((v, at) => at % 4 < 3 || v === 255)"
    )
    expect(page.locator("#results button")).to_have_count(1)
    assert page.locator("#prepared").evaluate(opaque)


@pytest.fixture(scope="module")
def kinds_url(folders: dict[str, Path]) -> Iterator[str]:
    """A service of one model of each kind in ``tests.serving.conftest.KINDS``."""
    with running_service(os.pathsep.join(map(str, folders.values()))) as url:
        yield url


@pytest.mark.parametrize("kind", KINDS)
def test_any_model_has_its_labels(browser: Browser, kinds_url: str, kind: str, tmp_path: Path) -> None:
    model = httpx.get(f"{kinds_url}/model.json", params={"model": kind}).json()
    labels, several = model["coarse_labels"], len(model["coarse_labels"]) > 1
    colour = len(model["input"]["shape"]) == 3
    faults: list[str] = []
    with browser.new_context(viewport={"width": 1280, "height": 860}) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{kinds_url}/?model={kind}")
        expect(page.locator("#model-name")).to_have_text(f"{kind}, version 1")
        expect(page.locator("#pad")).to_be_visible(visible=not colour)
        expect(page.locator("#strip")).to_be_visible(visible=not colour)
        expect(page.get_by_role("tab", name="Image" if colour else "Draw")).to_be_visible()
        with page.expect_response("**/predict_image*") as answered:
            page.locator("#file").set_input_files(photograph(tmp_path / "photo.png"))
        prediction = answered.value.json()["prediction"]
        expect(page.locator("#guess")).to_have_text(prediction["guess"]["label"])
        expect(page.locator("#classes .best .name")).to_have_text(prediction["guess"]["label"])
        expect(page.locator("#classes .group")).to_have_text(labels if several else [])
        expect(page.locator("#coarse")).to_be_visible(visible=several)
        expect(page.locator("#coarse .name")).to_have_text(labels)
        expect(page.locator("#coarse .best .name")).to_have_text(prediction["coarse"]["label"])
        # The lit cell is of the coarse label.
        lit = page.locator("#routing .chosen > .cell").evaluate_all(
            "cells => cells.map(cell => cell.matches('.chosen'))"
        )
        assert [labels[index] for index, is_lit in enumerate(lit) if is_lit] == [prediction["coarse"]["label"]]
        assert (page.locator("#prepared").get_attribute("class") or "") == ("" if colour else "ink")
        page.get_by_role("tab", name="Model").click()
        expect(page.get_by_role("tabpanel").locator("thead th")).to_have_text(
            ["Expert", *(labels if several else ["Class"]), "Load"]
        )
        page.get_by_role("tab", name="Live").click()
        expect(page.locator(".shifts figcaption span:first-child")).to_have_text(
            ["Expert load", "Guessed class", "Confidence", "Brightness"]
        )
    assert faults == []


def photograph(path: Path) -> Path:
    rows, columns = np.mgrid[:120, :200]
    colours = np.stack([columns * 255 // 200, rows * 255 // 120, (rows + columns) % 255], axis=2)
    Image.fromarray(colours.astype(np.uint8)).save(path)
    return path


def test_one_model_is_no_choice(open_page: Open) -> None:
    expect(open_page().locator("#models")).to_be_hidden()


def test_another_model_is_chosen_with_the_keyboard(browser: Browser, tmp_path: Path) -> None:
    mnist = REPOSITORY / "models" / "mnist"
    other = write_bundle(tmp_path / "other", name="other", version="3", subtypes=subtypes("c{}"))
    with running_service(os.pathsep.join(map(str, (mnist, other)))) as url, browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{url}/#model")
        models = page.get_by_role("navigation", name="Models").get_by_role("link")
        expect(models).to_have_text(["mnist 1", "other 3"])
        expect(models.first).to_have_attribute("aria-current", "page")
        models.last.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#model-name")).to_have_text("other, version 3")
        expect(page.get_by_role("tab", selected=True)).to_have_text("Model")
        expect(page.get_by_role("tabpanel").get_by_text("c0, c1, c2")).to_be_visible()
        expect(models.last).to_have_attribute("aria-current", "page")
        # This is for the first model, and must not count.
        httpx.post(f"{url}/predict", json={"images": [[[0] * 28] * 28] * 50})
        page.get_by_role("tab", name="Draw").click()
        for call in (lambda: page.get_by_role("button", name="Test digit 7").first.click(), lambda: draw(page, SEVEN)):
            with page.expect_response(re.compile("/predict")) as asked:
                call()
            assert asked.value.json()["model"] == {"name": "other", "version": "3"}
            expect(page.locator("#guess")).to_have_text(re.compile("c[0-9]"))
        page.get_by_role("tab", name="Live").click()
        # A stroke may be sent twice.
        counted = re.compile(r"The model abstained from \d of [2-9] images")
        expect(page.locator("#live")).to_have_text(counted)
        page.goto(f"{url}/?model=gone")
        expect(page.get_by_role("alert")).to_have_text("There is no model 'gone'; this service has 'mnist', 'other'.")
        expect(models).to_have_count(2)
        assert faults == []


def test_the_entered_key_is_sent(browser: Browser, tmp_path: Path) -> None:
    secret, key = make_key("page", ["predict"])
    (tmp_path / "keys").write_text(f"{key.line()}\n")
    settings = {"CLUSTNET_API_KEYS_FILE": str(tmp_path / "keys"), "CLUSTNET_METRICS_OPEN": "false"}
    faults: list[str] = []
    with running_service(SHIPPED_BUNDLE, **settings) as url, browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: said.text.startswith(STARTED_WRONG) or faults.append(said.text))
        page.on("request", lambda request: secret in request.url and faults.append(request.url))
        page.goto(url)
        expect(page.get_by_role("alert")).to_have_text(re.compile("^This request needs an API key"))
        enter(page, "guess")
        expect(page.get_by_role("alert")).to_have_text(re.compile("^The API key is unknown"))
        enter(page, secret)
        expect(page.locator("#model-name")).to_have_text(re.compile("version"))
        expect(page.get_by_label("API key")).to_be_hidden()
        page.get_by_role("button", name="Test digit 7").first.click()
        expect(page.locator("#guess")).to_have_text("7")
        draw(page, SEVEN)
        expect(page.locator("#time")).to_have_text(re.compile("Answered"))
        page.get_by_role("tab", name="Live").click()
        lacks = "The API key lacks the scope 'admin'; use a key that has it."
        expect(page.locator("#live .fault")).to_have_text(lacks)
        expect(page.get_by_label("API key")).to_be_visible()
        page.reload()
        expect(page.locator("#model-name")).to_have_text(re.compile("version"))
    assert faults == []


def enter(page: Page, secret: str) -> None:
    field = page.get_by_label("API key")
    expect(field).to_have_attribute("type", "password")
    field.fill(secret)
    field.press("Enter")
