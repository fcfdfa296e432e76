"""The page in a real browser: all kinds of queries, paging, keyboard, phones, dark mode, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow.parquet as pq
import pytest

from tests.laion.web.browser import Visit, browser
from tests.laion.web.shape_dataset import HOSTILE, ShapeSet

pytest.importorskip("playwright", reason="pip install 'img2ds[dev]'")

Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture
def visit(running: Any, address: str) -> Iterator[Open]:
    visits: list[Visit] = []

    def begin(width: int = 1280, height: int = 900, scheme: str = "light") -> Visit:
        size = {"width": width, "height": height}
        visits.append(Visit(running, address, viewport=size, color_scheme=scheme))
        return visits[-1]

    yield begin
    for each in visits:
        each.close()


def test_typing_a_text_shows_matching_images(visit: Open, shapes: ShapeSet) -> None:
    here = visit()
    page = here.open()
    page.wait_for_function("() => document.getElementById('rows').textContent.includes('320')")
    page.keyboard.type("a red circle")  # the box has the focus
    page.keyboard.press("Enter")
    here.settle()
    first = [shapes.images[row] for row in here.ids()[:5]]
    assert sum((p.colour, p.shape) == ("red", "circle") for p in first) >= 4
    assert page.url.endswith("/?text=a+red+circle")
    assert page.title() == "a red circle – laion search"
    page.wait_for_function(
        "() => [...document.querySelectorAll('.card img')].slice(0, 5).every(i => i.naturalWidth)"
    )
    assert page.inner_text(".card .score").startswith("0.")
    assert "results in" in page.inner_text("#status")
    elsewhere = {url for url, _ in here.outside} - {shapes.rows["url"][1]}  # it is in no shard
    assert elsewhere == set(), "everything is loaded from the server itself"


def test_a_caption_is_never_markup(visit: Open) -> None:
    here = visit()
    page = here.open(f"/?{urlencode({'text': HOSTILE, 'index': 'text'})}")
    card = page.locator(".card:has(a[data-id='0'])")
    assert card.locator(".caption").inner_text() == HOSTILE
    assert card.locator("img").get_attribute("alt") == HOSTILE
    card.locator(".similar").click()
    page.wait_for_url("**/?id=0&index=text")
    page.wait_for_function("() => document.getElementById('asked').innerText.includes('onerror')")
    assert HOSTILE in page.inner_text("#asked")
    page.goto("/#row-0")
    page.wait_for_selector("#details[open]")
    assert HOSTILE in page.inner_text("#details")
    assert page.title() == "laion search"
    assert page.locator(".card script, #asked script, #details script").count() == 0


def test_a_result_has_details_and_similar_images(visit: Open, shapes: ShapeSet) -> None:
    here = visit()
    page = here.open("/?text=a+blue+star&safe=false")
    before = here.ids()
    page.locator(".card > a").nth(2).click()
    page.wait_for_selector("#details[open]")
    assert page.url.endswith(f"#row-{before[2]}")
    shown = page.inner_text("#details-facts")
    assert shapes.rows["caption"][before[2]] in shown
    assert shapes.rows["url"][before[2]] in shown
    tag = {"UNLIKELY": "unlikely to be NSFW", "UNSURE": "unsure", "NSFW": "NSFW"}
    assert tag[shapes.rows["nsfw"][before[2]]] in shown
    page.wait_for_function("() => document.getElementById('details-image').naturalWidth > 0")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**#row-{before[1]}")
    page.click("#details-next")
    page.wait_for_url(f"**#row-{before[2]}")
    page.keyboard.press("Escape")
    page.wait_for_url("**safe=false")
    assert not page.locator("#details[open]").count()
    assert page.evaluate("document.activeElement.dataset.id") == str(before[2])
    page.go_forward()
    page.wait_for_selector("#details[open]")
    page.click("#details-similar")
    page.wait_for_url(f"**/?id={before[2]}&safe=false")
    here.settle()
    assert not page.locator("#details[open]").count()
    assert before[2] not in here.ids(), "an image is not similar to itself"


def test_a_link_leads_to_details(visit: Open, shapes: ShapeSet) -> None:
    here = visit()
    page = here.open("/#row-7")
    page.wait_for_selector("#details[open]")
    assert shapes.rows["caption"][7] in page.inner_text("#details-facts")
    assert page.is_disabled("#details-next")
    page.click("#details-close")
    page.wait_for_url("**/")
    page.goto("/#row-320")
    page.wait_for_function("() => document.getElementById('rows').textContent.includes('no such')")


def test_a_search_for_similar_images_and_back(visit: Open) -> None:
    here = visit()
    page = here.open("/?text=a+blue+star")
    before = here.ids()
    page.locator(".card .similar").nth(2).click()
    page.wait_for_url(f"**/?id={before[2]}")
    page.wait_for_selector("#asked img")
    page.go_back()
    page.wait_for_url("**/?text=a+blue+star")
    page.wait_for_function("() => document.getElementById('text').value === 'a blue star'")
    here.settle()
    assert here.ids()[:5] == before[:5]
    page.go_forward()
    page.wait_for_selector("#asked:not([hidden])")
    page.click("#asked button")
    page.wait_for_function("() => document.body.classList.contains('landing')")


def test_search_by_a_chosen_a_dropped_and_a_pasted_image(visit: Open, shapes: ShapeSet) -> None:
    here = visit()
    page = here.open()
    body = shapes.bodies[30]
    page.click("#open-image-query")
    page.set_input_files("#file", {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": body})
    here.settle()
    assert here.ids()[0] == 30
    assert page.inner_text("#asked .words") == "Like mine.jpg"
    assert page.is_disabled("#share"), "a link cannot hold an upload"
    assert page.is_hidden("#image-query")
    for kind in ("drop", "paste"):
        page.goto("/")
        page.evaluate(
            """([kind, bytes]) => {
                const data = new DataTransfer();
                const image = new Blob([new Uint8Array(bytes)], {type: "image/jpeg"});
                data.items.add(new File([image], `${kind}.jpg`, {type: "image/jpeg"}));
                const over = new DragEvent("dragenter", {bubbles: true, dataTransfer: data});
                const event = kind === "drop"
                    ? new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: data})
                    : new ClipboardEvent("paste", {bubbles: true, clipboardData: data});
                if (kind === "drop") document.body.dispatchEvent(over);
                window.covered = !document.getElementById("dropping").hidden;
                document.body.dispatchEvent(event);
            }""",
            [kind, list(body)],
        )
        here.settle()
        assert here.ids()[0] == 30
        assert page.evaluate("window.covered") == (kind == "drop")
        assert page.is_hidden("#dropping")


def test_an_unusable_image_is_reported(visit: Open) -> None:
    here = visit()
    page = here.open()
    page.click("#open-image-query")
    page.fill("#url", "http://127.0.0.1/private.jpg")
    page.keyboard.press("Enter")
    here.settle()
    assert "This address is on a private network" in page.inner_text("#message p")
    assert "blocked_address" in page.inner_text("#message .detail")
    assert page.is_disabled("#download")
    page.set_input_files(
        "#file", {"name": "x.png", "mimeType": "image/png", "buffer": b"not an image"}
    )
    page.wait_for_function("() => document.getElementById('message').innerText.includes('read as')")


def test_safe_mode_hides_tagged_rows_until_it_is_turned_off(visit: Open) -> None:
    here = visit()
    page = here.open("/?text=a+star")
    assert page.is_checked("#safe")
    assert page.locator(".tag").count() == 0
    page.uncheck("#safe")
    page.wait_for_selector(".tag")
    assert page.url.endswith("safe=false")
    assert set(page.locator(".tag").all_inner_texts()) <= {"unsure", "nsfw"}


def test_filters_and_the_empty_state(visit: Open, shapes: ShapeSet) -> None:
    here = visit()
    page = here.open("/?text=a+star")
    page.select_option("#license", "commercial")
    page.wait_for_url("**license=commercial")
    here.settle()
    assert {shapes.rows["license"][row] for row in here.ids()} == {
        "https://creativecommons.org/licenses/by/4.0/"
    }
    assert page.locator(".facts a[target]").first.inner_text() == "CC BY"
    page.select_option("#min_size", "1024")
    page.wait_for_selector("#message:not([hidden])")
    assert "Nothing found" in page.inner_text("#message")
    page.click("text=Remove the filters")
    here.settle()
    assert len(here.ids()) >= 40
    page.check("#deduplicate")
    page.wait_for_url("**deduplicate=true")


def test_captions_can_be_searched(visit: Open, shapes: ShapeSet) -> None:
    here = visit()
    page = here.open("/?text=a+green+triangle")
    page.click("text=Captions")
    page.wait_for_url("**index=text")
    here.settle()
    captions = [shapes.rows["caption"][row] for row in here.ids()[:5]]
    assert all("green" in caption and "triangle" in caption for caption in captions)


def test_an_image_that_fails_to_load_leaves_no_gap(visit: Open, shapes: ShapeSet) -> None:
    here = visit()
    # The image of row 1 is in no shard, and its host does not exist.
    page = here.open(f"/?{urlencode({'text': shapes.rows['caption'][1], 'index': 'text'})}")
    page.wait_for_function(
        "() => document.getElementById('status').textContent.includes('1 image could not')"
    )
    assert 1 not in here.ids()
    assert [url for url, _ in here.outside] == ["http://shapes.invalid/0/1.jpg"] * len(here.outside)
    assert here.outside
    assert all("referer" not in headers for _, headers in here.outside)
    tops = page.eval_on_selector_all(
        ".card", "cards => cards.map(c => [c.offsetTop, c.offsetLeft, c.offsetWidth])"
    )
    first_row = [(left, width) for top, left, width in tops if top == tops[0][0]]
    gap = first_row[1][0] - sum(first_row[0])
    assert all(abs(b[0] - sum(a) - gap) <= 1 for a, b in pairwise(first_row))


def test_scrolling_loads_every_result_once(visit: Open, shapes: ShapeSet) -> None:
    here = visit()
    page = here.open("/?text=a+circle&safe=false")
    expected = 320 - 1  # one image is in no shard
    for _ in range(60):
        page.mouse.wheel(0, 4000)
        if page.is_hidden("#more"):
            break
        page.wait_for_timeout(50)
    page.wait_for_function(f"() => document.querySelectorAll('.card > a').length === {expected}")
    ids = here.ids()
    assert len(set(ids)) == len(ids) == expected
    assert page.inner_text("#status").startswith("319 results")


def test_the_downloaded_list_is_the_shown_one(
    visit: Open, shapes: ShapeSet, tmp_path: Path
) -> None:
    here = visit(height=500)
    page = here.open("/?text=a+yellow+square&safe=false")
    with page.expect_download() as started:
        page.click("#download")
    started.value.save_as(tmp_path / "results.parquet")
    table = pq.read_table(tmp_path / "results.parquet")
    shown = [shapes.rows["url"][row] for row in here.ids()]
    # The list also has the row whose image cannot be shown.
    urls = [url for url in table["URL"].to_pylist() if url != shapes.rows["url"][1]]
    assert urls[: len(shown)] == shown
    assert started.value.suggested_filename == "results.parquet"


def test_a_slash_focuses_the_empty_box_and_is_typed_into_a_text(visit: Open) -> None:
    page = visit().page
    page.goto("/")
    page.focus("#text")
    page.keyboard.press("/")
    page.keyboard.type("a/b")
    assert page.input_value("#text") == "a/b"


def test_everything_can_be_done_with_keys(visit: Open) -> None:
    here = visit()
    page = here.open("/?text=a+black+star")
    focused = "document.activeElement.id || document.activeElement.dataset.id"
    page.keyboard.press("/")
    assert page.evaluate(focused) == "text"
    page.keyboard.press("Escape")
    assert page.evaluate(focused) != "text"
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    ids = [str(row) for row in here.ids()]
    assert page.evaluate(focused) == ids[0]
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == ids[1]
    page.keyboard.press("ArrowDown")
    below = page.evaluate(focused)
    assert ids.index(below) > 2
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == ids[1]
    page.keyboard.press("End")
    assert page.evaluate(focused) == ids[-1]
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**#row-{ids[0]}")
    page.keyboard.press("Escape")
    page.wait_for_url("**/?text=a+black+star")
    page.focus("#open-image-query")
    page.keyboard.press("Enter")
    assert page.evaluate(focused) == "file"
    page.keyboard.press("Escape")
    assert page.is_hidden("#image-query")
    assert page.evaluate(focused) == "open-image-query"


@pytest.mark.parametrize("path", ["/", "/?text=a+red+circle", "/?id=0"])
def test_the_page_fits_a_phone(visit: Open, path: str) -> None:
    here = visit(360, 740)
    page = here.open(path)
    page.click("#open-image-query")
    if "?" in path:
        assert page.is_hidden("#license")
        page.click("#open-filters")
        assert page.is_visible("#license")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, input:not(.hidden), select")]
            .filter(e => e.checkVisibility() && !["radio", "checkbox"].includes(e.type))
            .filter(e => e.getBoundingClientRect().height < 32).map(e => e.outerHTML)"""
    )
    assert small == [], "too small for a finger"
    if "?" in path:
        edges = page.eval_on_selector_all(
            ".filters select", "all => all.map(e => [e.offsetLeft, e.offsetWidth])"
        )
        assert len({tuple(edge) for edge in edges}) == 1, "selects are aligned"
        page.locator(".card > a").first.click()
        page.wait_for_selector("#details[open]")
        assert page.evaluate("document.getElementById('details').scrollWidth") <= 360


#: The contrast of every visible text with its background (WCAG 2.2, 1.4.3).
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const c = rgba(getComputedStyle(e).backgroundColor);
      if (c[3] > 150) return c;
    }
    return [255, 255, 255, 255];
  };
  const bad = [];
  for (const e of document.querySelectorAll("body *")) {
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!text || !e.checkVisibility() || e.closest(":disabled, .hidden, .score, .skip")) continue;
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${e.tagName} ${e.className} ${e.textContent.trim()} ${ratio}`);
  }
  return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast_and_controls_have_names(visit: Open, scheme: str) -> None:
    here = visit(scheme=scheme)
    page = here.open("/?id=4&safe=false")
    page.click("#open-image-query")
    assert page.evaluate(CONTRAST) == []
    page.goto("/")
    page.wait_for_selector("#strip button")
    assert page.evaluate(CONTRAST) == []
    page.goto("/#row-7")
    page.wait_for_selector("#details[open]")
    assert page.evaluate(CONTRAST) == []
    page.goto("/api")
    page.wait_for_selector("h2")
    assert page.evaluate(CONTRAST) == []
    page.goto("/")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a[href]")]
            .filter(e => !(e.textContent.trim() || e.labels?.[0]?.textContent.trim()
                || e.querySelector("img")?.alt))
            .map(e => e.outerHTML)"""
    )
    assert nameless == []


def test_the_chosen_theme_is_remembered(visit: Open) -> None:
    here = visit(scheme="light")
    page = here.open()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.click("#theme")
    assert page.evaluate(ground) == light


def test_an_unreachable_server_is_reported_and_retried(visit: Open) -> None:
    here = visit()
    page = here.open()
    page.route("**/api/search*", lambda route: route.abort())
    page.fill("#text", "a star")
    page.keyboard.press("Enter")
    here.page.wait_for_selector("#message:not([hidden])")
    assert "cannot be reached" in page.inner_text("#message")
    page.unroute("**/api/search*")
    page.click("text=Try again")
    page.wait_for_selector(".card:not(.blank)")
    assert page.is_hidden("#message")


def test_an_image_a_text_and_a_negative_text_are_one_query(visit: Open, shapes: ShapeSet) -> None:
    here = visit()
    page = here.open()
    image = {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": shapes.bodies[30]}
    page.set_input_files("#file", image)
    here.settle()
    colour = next(c for c in ("red", "blue") if c != shapes.images[30].colour)
    page.fill("#text", colour)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/?text={colour}")
    here.settle()
    first = [shapes.images[row] for row in here.ids()[:4]]
    assert [p.colour for p in first].count(colour) >= 3
    assert page.inner_text("#asked .words") == "Like mine.jpg"
    page.fill("#negative_text", first[0].shape)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**negative_text={first[0].shape}")
    here.settle()
    assert page.inner_text("#filters-on").strip() == "(on)"
    page.locator("#asked input").fill("-2")
    page.wait_for_url("**image_weight=0.25")
    page.click("#asked button")
    page.wait_for_url(f"**/?text={colour}&negative_text={first[0].shape}")
    assert page.is_hidden("#asked")


def test_the_slider_leaves_out_dissimilar_results(visit: Open) -> None:
    here = visit()
    page = here.open("/?text=a+red+circle")
    page.locator("#min_similarity").fill("0.4")
    page.wait_for_url("**min_similarity=0.4")
    here.settle()
    assert page.inner_text("#least") == "≥ 0.40"
    scores = page.locator(".score").all_inner_texts()
    assert scores
    assert min(map(float, scores)) >= 0.4
    page.locator("#min_similarity").fill("0.95")
    page.click("text=Remove the filters")
    page.wait_for_url("**/?text=a+red+circle")


def test_the_start_page_has_examples_and_recent_searches(visit: Open) -> None:
    here = visit()
    page = here.open()
    page.wait_for_selector("#strip button")
    assert page.locator("#strip button").count() >= 11  # one image is in no shard
    assert page.is_hidden("#recent")
    example = page.locator("#examples .chip").first.inner_text()
    assert page.inner_text("#strip-title") == f"Results for “{example}”"
    page.locator("#strip button").nth(1).click()
    page.wait_for_selector("#details[open]")
    page.keyboard.press("Escape")
    page.locator("#examples .chip").first.click()
    here.settle()
    assert page.input_value("#text") == example
    page.locator(".card .similar").first.click()
    page.wait_for_url("**/?id=*")
    here.settle()
    page.click(".brand")
    page.wait_for_selector("#recent .chip")
    recent = page.locator("#recent .chip").all_inner_texts()
    assert recent[0].startswith("like “")
    assert recent[1:] == [example]
    page.locator("#recent .chip").nth(1).click()
    page.wait_for_url("**/?text=*")
    page.click(".brand")
    page.click("#recent .link")
    page.reload()
    page.wait_for_selector("#examples .chip")
    assert page.is_hidden("#recent")


def test_links_and_captions_can_be_copied(running: Any, address: str, shapes: ShapeSet) -> None:
    here = Visit(running, address, permissions=["clipboard-read", "clipboard-write"])
    page = here.open("/?text=a+red+circle&safe=false")
    read = "navigator.clipboard.readText()"
    page.click("#share")
    page.wait_for_selector("#share >> text=Copied")
    assert page.evaluate(read) == f"{address}/?text=a+red+circle&safe=false"
    row = here.ids()[0]
    page.locator(".card > a").first.click()
    page.locator(".copy").first.click()
    page.wait_for_selector(".copy >> text=Copied")
    assert page.evaluate(read) == shapes.rows["caption"][row]
    page.click("#details-share")
    page.wait_for_selector("#details-share >> text=Copied")
    assert page.evaluate(read) == f"{address}/?text=a+red+circle&safe=false#row-{row}"
    here.close()


def test_without_tags_safe_mode_is_disabled_and_the_notice_can_be_dismissed(visit: Open) -> None:
    here = visit()
    health = {"status": "ok", "rows": 320, "indices": ["image"], "model": "m", "tagged": False}
    here.page.route("**/api/health", lambda route: route.fulfill(json=health))
    page = here.open("/?text=a+star")
    page.wait_for_selector("#notice:not([hidden])")
    assert page.is_disabled("#safe")
    assert not page.is_checked("#safe")
    page.click("#dismiss")
    assert page.is_hidden("#notice")
    page.reload()
    page.wait_for_function("() => document.getElementById('safe').disabled")
    assert page.is_hidden("#notice")


def test_the_api_page_names_every_path_and_parameter(visit: Open) -> None:
    page = visit(360, 740).open("/api")
    page.wait_for_selector("h2")
    shown = page.inner_text("main")
    for words in ("GET /api/search", "POST /api/search", "negative_text", "0 to 10; default 0.5",
                  "results[].similarity", "/api/row/{id}"):  # fmt: skip
        assert words in shown
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
