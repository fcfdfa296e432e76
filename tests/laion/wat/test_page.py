"""The compiled scan and the Python reader agree on any record, and both are right."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from laion.wat import page as module
from laion.wat.archive import read_records
from laion.wat.page import Page, Wanted, read_page
from laion.wat.page_json import read_json
from tests.laion.wat.wat_records import dump, image, metadata, response

DATA = Path(__file__).parents[4] / "shared" / "data"
SOURCE = Wanted()
MANY = Wanted((b"data-uri", b"src", b"srcset"))
EVERY_IMAGE = Wanted(keep_all=True)
FILES = Wanted(extensions=(b"mp3", b"pdf", b"md"))

needs_compiler = pytest.mark.skipif(module._scan is None, reason="built without a C compiler")

texts = st.text(
    st.sampled_from('ab"\\/{}[],: \n\t\x00é漢😀\ud800\udfff\ufffd') | st.characters(), max_size=8
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
urls = texts | st.sampled_from(
    ["https://creativecommons.org/licenses/by/4.0/", "xcreativecommons.org/licenses/", "/a.jpg",
     "a.mp3", " /b/c.PDF?d=e.f#g ", "https://example.md", "//h.md", "//h/r.md", "a//b.mp3", ".pdf",
     "x.mp3/", "a.b\u212a", "?a.pdf", "\0a.pdf\t"]
)  # fmt: skip
paths = st.sampled_from(["IMG@/src", "IMG@/srcset", "IMG@/data-uri", "A@/href", "img@/src"])
link_values = st.fixed_dictionaries(
    {},
    optional={
        "path": paths | values, "url": urls | values, "alt": texts | values,
        "rel": st.sampled_from(["license", "nofollow license", "x"]) | values,
        "title": texts, "text": texts | values, "odd": values,
    },
)  # fmt: skip
lists = st.lists(link_values | values, max_size=6) | values
records = st.lists(
    st.fixed_dictionaries({"Name": st.just("languages-cld2") | texts, "Value": texts | values})
    | values,
    max_size=3,
)
pages = st.fixed_dictionaries(
    {},
    optional={
        "Payload-Metadata": values | st.fixed_dictionaries({}, optional={
            "HTTP-Response-Metadata": values | st.fixed_dictionaries({}, optional={
                "HTML-Metadata": values | st.fixed_dictionaries({}, optional={
                    "Head": values | st.fixed_dictionaries(
                        {}, optional={"Base": urls | values, "Link": lists}),
                    "Links": lists,
                }),
            }),
            "WARC-Metadata-Metadata": values | st.fixed_dictionaries(
                {}, optional={"Metadata-Records": records | values}),
        }),
        "WARC-Header-Metadata": values | st.fixed_dictionaries(
            {}, optional={"WARC-Target-URI": urls | values}),
    },
)  # fmt: skip
documents = st.fixed_dictionaries({"Container": values, "Envelope": pages | values}) | values


def lists_of(found: Any) -> Any:
    return None if found is None else [list(x) if isinstance(x, tuple) else x for x in found]


def agree(text: bytes, wanted: Wanted) -> None:
    padded = b"head" + text + b"tail"
    assert module._scan is not None
    found = module._scan.scan(padded, 4, 4 + len(text), *wanted)
    assert lists_of(found) == lists_of(read_json(text, *wanted))


def spelled(document: Any, seed: int) -> bytes:
    """The document as JSON, with blanks, escapes and repeated keys as a seed will have them."""
    dice = Random(seed)
    blank = dice.choice(["", "", " ", "\r\n\t"])
    text = json.dumps(
        document,
        ensure_ascii=dice.random() < 0.3,
        separators=(f"{blank},{blank}", f"{blank}:{blank}"),
    )
    if dice.random() < 0.2:
        text = text.replace('"alt"', '"\\u0061lt"').replace('"Links"', '"Link\\u0073"')
    if dice.random() < 0.2:
        text = text.replace("/", "\\/")
    if dice.random() < 0.3:
        # Of a key that is given twice the last one counts.
        for key in ("Envelope", "Payload-Metadata", "HTML-Metadata", "Head", "Links", "Link"):
            if dice.random() < 0.4:
                other = dice.choice(['"', "0", "{}", "[]", '[{"path":"IMG@/src","url":"x"}]'])
                other = '""' if other == '"' else other
                text = text.replace(f'"{key}"', f'"{key}":{other},"{key}"', 1)
    return (blank + text + blank).encode("utf-8", "surrogatepass")


@needs_compiler
@settings(derandomize=True, deadline=None, max_examples=600)
@given(documents, st.integers(0, 2**16), st.sampled_from([SOURCE, MANY, EVERY_IMAGE, FILES]))
def test_the_scan_reads_as_json_does(document: Any, seed: int, wanted: Wanted) -> None:
    agree(spelled(document, seed), wanted)


@needs_compiler
@settings(derandomize=True, deadline=None, max_examples=400)
@given(
    documents, st.integers(0, 2**16),
    st.lists(st.tuples(st.integers(0, 2**20), st.binary(max_size=3)), min_size=1, max_size=3),
)  # fmt: skip
@example({"a": 1}, 0, [(6, b"")])
def test_the_scan_refuses_what_json_refuses(
    document: Any, seed: int, changes: list[tuple[int, bytes]]
) -> None:
    text = bytearray(spelled(document, seed))
    for place, change in changes:
        at = place % (len(text) + 1)
        text[at : at + len(change)] = change or b'"'
    agree(bytes(text), MANY)
    agree(bytes(text[: changes[0][0] % (len(text) + 1)]), SOURCE)


def mutants(count: int) -> list[bytes]:
    """True records with bytes changed, lost and put in between."""
    dice = Random(7)
    page = response(
        [image("/a.jpg", "An apple & a pear"), image("b.png", "“Ünï”", "data-uri"),
         {"path": "A@/href", "url": "https://creativecommons.org/licenses/by/4.0/"}],
        head={"Base": "https://example.net/", "Link": [{"url": "x", "rel": "license"}]},
    )  # fmt: skip
    texts = [dump(page), dump(response([image("c.jpg", "d")], old=True)), dump(metadata("de"))]
    found = []
    for _ in range(count):
        text = bytearray(dice.choice(texts))
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(text))
            match dice.randrange(3):
                case 0:
                    text[at] = dice.choice(b'"\\{}[],:u0e-.nN \xff\xe2x')
                case 1:
                    del text[at : at + dice.randint(1, 9)]
                case _:
                    text[at:at] = dice.choice([b'"', b"\\", b",", b"\\ud83d", b"{", b"\xf0\x9f"])
        found.append(bytes(text))
    return found


@needs_compiler
def test_the_scan_and_json_agree_on_mutated_records() -> None:
    refused = 0
    for text in mutants(20_000):
        for wanted in (MANY, EVERY_IMAGE, FILES):
            agree(text, wanted)
        refused += read_json(text, *MANY) is None
    assert 2000 < refused < 19_000


@needs_compiler
@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "{}", "[]", "[1,]", "[,1]", '{"a":1,}', '{"a"}', '{"a":}', "{1:2}", "01", "1.",
     "-", "-0", "1e5", "1e", "NaN", "-Infinity", "nul", "tru", '"', '"\\', '"\\u12', '"\\x"',
     '"\\ud83d\\ude00"', "{} x", "[" * 300 + "]" * 300, "[" * 300 + "]" * 299, "\ufeff{}"],
)  # fmt: skip
def test_the_scan_keeps_to_json_s_grammar(text: str) -> None:
    agree(text.encode(), SOURCE)


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_compiler), False])
@pytest.mark.parametrize("old", [False, True])
def test_a_page_in_both_layouts(old: bool, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not compiled:
        monkeypatch.setattr(module, "_scan", None)
    text = dump(
        response(
            [image("a.jpg", "one"), image("b.jpg"), {"path": "A@/href", "url": "c"}, 7,
             image("d.jpg", ""), image("e.jpg", "lazy", "data-src")],
            "http://example.org/",
            head={"Base": "/base/"},
            old=False,
        )
        if not old
        else response(
            [image("a.jpg", "one"), image("b.jpg"), {"path": "A@/href", "url": "c"},
             image("d.jpg", ""), image("e.jpg", "lazy", "data-src")],
            "http://example.org/",
            head={"Base": "/base/"},
            old=True,
        )
    )  # fmt: skip
    page = read_page(text, 0, len(text), SOURCE)
    assert page is not None
    assert page.is_response
    assert (page.url, page.base) == ("http://example.org/", "/base/")
    assert (page.urls, page.alts, page.without_alt) == (["a.jpg", "d.jpg"], ["one", ""], 1)


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_compiler), False])
def test_an_attribute_of_any_tag_takes_the_alt_of_the_src_behind_it(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(module, "_scan", None)
    text = dump(
        response([
            image("big.jpg", None, "data-uri"), image("small.gif", "A mountain"),
            image("alone.jpg", None, "data-uri"), {"path": "A@/href", "url": "x", "alt": "no"},
            image("other.jpg", "A river"),
        ])
    )  # fmt: skip
    page = read_page(text, 0, len(text), MANY)
    assert page is not None
    assert list(zip(page.urls, page.alts, page.attributes, strict=True)) == [
        ("big.jpg", "A mountain", 0), ("small.gif", "A mountain", 1),
        ("alone.jpg", None, 0), ("other.jpg", "A river", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_compiler), False])
def test_links_to_files_are_found_by_the_path_of_their_url(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any tag, whatever the case and the query; a host is no file."""
    if not compiled:
        monkeypatch.setattr(module, "_scan", None)
    found = ["a.mp3", " /b/c.PDF?d=e.jpg ", "//h.example/r.md#top", "http://h.example/x.y.mp3"]
    others = ["https://example.md", "//example.md", "//example.md?a.pdf", "a.mp3/", "mp3", "b.mp34"]
    links = [{"path": "A@/href", "url": url, "text": f"text {n}"} for n, url in enumerate(found)]
    links += [{"path": "EMBED@/src", "url": "d.mp3"}]
    links += [{"path": "A@/href", "url": url, "text": "no"} for url in others]
    text = dump(response([*links, image("e.jpg", "an image")]))
    page = read_page(text, 0, len(text), FILES)
    assert page is not None
    assert page.urls == [*found, "d.mp3"]
    assert page.alts == ["text 0", "text 1", "text 2", "text 3", None]
    assert page.attributes == [0, 1, 2, 0, 0]


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_compiler), False])
def test_images_without_an_alt_text_can_be_kept(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(module, "_scan", None)
    text = dump(response([image("a.jpg", "one"), image("b.jpg"), image("c.jpg", "")]))
    page = read_page(text, 0, len(text), EVERY_IMAGE)
    assert page is not None
    assert (page.urls, page.alts) == (["a.jpg", "b.jpg", "c.jpg"], ["one", None, ""])
    assert page.without_alt == 0


def test_invalid_json_is_not_a_page() -> None:
    assert read_page(b"xx{]", 2, 4, SOURCE) is None


@pytest.mark.skipif(not DATA.exists(), reason="there is no shared/data next to the repository")
@pytest.mark.parametrize("name", ["CC-MAIN-20140820021334-00006.warc.wat", "whirlwind.warc.wat.gz"])
def test_real_files(name: str) -> None:
    pages: list[Page] = []
    with (DATA / name).open("rb") as file:
        for found in read_records(file):
            assert found is not None
            data, start, end = found
            if start < end:
                if module._scan is not None:
                    for wanted in (MANY, EVERY_IMAGE, FILES):
                        agree(bytes(data[start:end]), wanted)
                page = read_page(data, start, end, SOURCE)
                assert page is not None
                pages.append(page)
    assert pages
    if name.startswith("CC"):
        (page,) = [page for page in pages if page.urls]
        assert page.url == "http://0pointer.de/photos/?gallery=Australia&photo=496"
        assert page.alts == ["496", "Previous", "Next", "Creative Commons License"]
        assert page.licenses[0][0] == "http://creativecommons.org/licenses/by-sa/3.0/"
        # What the page itself contains, in the WARC that belongs to the WAT.
        html = (DATA / "CC-MAIN-20140820021334-00006.warc").read_bytes()
        for url, alt in zip(page.urls, page.alts, strict=True):
            assert url.encode() in html
            assert f'alt="{alt}"'.encode() in html
