"""A WAT file for the benchmarks, made in Common Crawl's layouts: seeded, and kept once it is made.

Records, their order, keys and members are as in real files: a request, a response and a metadata
record each page, one gzip member a record. Half of the pages are in the layout since 2019, where
entities are decoded and a link is `{"path","url","alt"}`, unless `--layout` is given. Shares
are of one real file (45,000 pages, 350 MB), but that it has five images with a text a page, 240,033
in all, and here nine, among some two hundred other links; two in five texts are not English.

The layout `dense` has pages with little besides images, some five alt texts each, so that the cost
of an image is not hidden by that of other links.

`python -m benchmark.wat_corpus --megabytes 44` prints where it lies and what is in it.
"""

from __future__ import annotations

import argparse
import json
import random
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmark.wat_words import LANGUAGES

CACHE = Path(__file__).parent / "cache"
SEED = 400
#: Bytes of the file: a real one is eight times as large.
MEGABYTES = 44
LAYOUTS = ("new", "old", "mixed", "dense")
#: Megabytes of the dense file: 40,000 pages with 207,000 images that have a text.
DENSE_MEGABYTES = 81

_FILE = "CC-MAIN-20240220211055-20240221001055-00000.warc"
_TYPES = ("jpg", "jpg", "jpg", "jpg", "jpeg", "png", "png", "webp", "gif", "svg")
_LICENSES = ("by/4.0/", "by-sa/4.0/", "by-nc-nd/4.0/", "by-nc-sa/3.0/")


class _Site:
    """Hosts, words and habits of one page's site."""

    def __init__(self, dice: random.Random, number: int) -> None:
        self.dice = dice
        self.code = dice.choices(list(LANGUAGES), [share for share, _ in LANGUAGES.values()])[0]
        self.words = LANGUAGES[self.code][1]
        names = LANGUAGES["en"][1]
        self.host = f"www.{dice.choice(names)}{dice.choice(names)}{number % 997}.{self.ending()}"
        self.scheme = "https" if dice.random() < 0.85 else "http"
        self.root = f"{self.scheme}://{self.host}"

    def ending(self) -> str:
        return {"en": "com", "ja": "jp", "zh": "cn"}.get(self.code, self.code)

    def slug(self, least: int = 1, most: int = 4) -> str:
        names = LANGUAGES["en"][1]
        return "-".join(self.dice.choices(names, k=self.dice.randint(least, most)))

    def text(self, least: int, most: int) -> str:
        space = "" if self.code in ("ja", "zh") else " "
        words = self.dice.choices(self.words, k=self.dice.randint(least, most))
        kind = self.dice.random()
        text = space.join(words)
        if kind < 0.35:
            text = text.title()
        if kind > 0.93:
            text += f" – {self.slug(1, 2)}"
        elif kind > 0.88:
            text += f" & {self.dice.choice(self.words)} ({self.dice.randint(1, 2024)})"
        elif kind > 0.85:
            text = text.replace(space or "\0", "\n", 1)
        elif kind > 0.82:
            text += "’s"
        return text

    def page(self) -> str:
        return f"/{self.slug(1, 2)}/{self.slug(2, 6)}{self.dice.choice(('', '/', '.html'))}"

    def image(self) -> str:
        dice = self.dice
        name = f"{self.slug(2, 5)}-{dice.randint(100, 2000)}x{dice.randint(100, 2000)}"
        leaf = f"{name}.{dice.choice(_TYPES)}"
        kind = dice.random()
        if kind < 0.62:
            month = f"20{dice.randint(10, 24)}/0{dice.randint(1, 9)}"
            return f"{self.root}/wp-content/uploads/{month}/{leaf}"
        if kind < 0.70:
            shop, version = dice.randint(10**6, 10**7), dice.randint(10**9, 2 * 10**9)
            return f"//cdn.{self.slug(1, 1)}.net/s/files/1/{shop}/{leaf}?v={version}"
        if kind < 0.90:
            return f"/images/{self.slug(1, 1)}/{leaf}"
        if kind < 0.94:
            return f"img/{leaf}"
        if kind < 0.96:
            return f"../{leaf}"
        if kind < 0.97:
            return f" {self.root}/{leaf.replace('-', ' ')}"
        if kind < 0.99:
            return "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
        return f"{self.root}/thumb.php?src={leaf}&w=300"


def _anchor(site: _Site) -> dict[str, str]:
    dice = site.dice
    path = site.page()
    link = {"path": "A@/href", "url": path if dice.random() < 0.45 else site.root + path}
    named = path.strip("/").removesuffix(".html").rpartition("/")[2].replace("-", " ")
    text = named.title() if dice.random() < 0.6 else site.text(1, 5)
    if dice.random() < 0.3:
        link["title"] = text
    if dice.random() < 0.15:
        link["rel"] = dice.choice(("nofollow", "noopener", "bookmark"))
    if dice.random() < 0.85:
        link["text"] = text
    return link


def _dense_links(site: _Site) -> list[dict[str, str]]:
    """Images, nearly all with a text, and few other links."""
    dice = site.dice
    links = []
    for _ in range(dice.randint(1, 10)):
        link = {"path": "IMG@/src", "url": site.image()}
        if dice.random() < 0.95:
            link["alt"] = site.text(1, 9)
        links.append(link)
    return links


def _links(site: _Site, new: bool) -> list[dict[str, str]]:
    dice = site.dice
    # A menu stands on top, at the bottom and in the one for phones; articles are linked by their
    # images, their titles and "read more".
    menu = [_anchor(site) for _ in range(dice.randint(8, 45))]
    links = menu * dice.randint(1, 3)
    for _ in range(dice.randint(20, 90)):
        anchor = _anchor(site)
        links += [anchor] * dice.choice((1, 1, 2, 3))
    for _ in range(dice.randint(0, 24)):
        link = {"path": "IMG@/src", "url": site.image()}
        if dice.random() < 0.75:
            link["alt"] = site.text(1, 9) if dice.random() < 0.9 else ""
        if dice.random() < 0.15:
            link["title"] = site.text(1, 5)
        links.insert(dice.randrange(len(links) + 1), link)
    if dice.random() < 0.01:
        address = f"https://creativecommons.org/licenses/{dice.choice(_LICENSES)}"
        links.append({"path": "A@/href", "url": address, "rel": "license"})
    return links if new else list(map(_old, links))


def _old(link: dict[str, str]) -> dict[str, str]:
    """A link as before 2019: its keys in order, and entities left as they are."""
    return {key: value.replace("&", "&amp;") for key, value in sorted(link.items())}


def _head(site: _Site, new: bool) -> dict[str, object]:
    dice = site.dice
    metas = [
        {"name": name, "content": site.text(4, 20)}
        for name in ("description", "keywords", "twitter:title", "twitter:description")
    ]
    metas += [
        {"property": f"og:{name}", "content": site.root + site.page()} for name in ("url", "image")
    ]
    sheets = [
        {"path": "LINK@/href", "url": f"{site.root}/css/{site.slug()}.css?ver={n}",
         "rel": "stylesheet", "type": "text/css"}
        for n in range(dice.randint(2, 14))
    ]  # fmt: skip
    scripts = [
        {
            "path": "SCRIPT@/src",
            "url": f"{site.root}/js/{site.slug()}.js",
            "type": "text/javascript",
        }
        for _ in range(dice.randint(2, 14))
    ]
    head: dict[str, object] = {
        "Metas": metas, "Title": site.text(3, 10), "Link": sheets, "Scripts": scripts,
    }  # fmt: skip
    if dice.random() < 0.03:
        head["Base"] = site.root + "/"
    return head if new else dict(sorted(head.items()))


def _envelope(
    site: _Site, kind: str, payload: Mapping[str, object], url: str, new: bool
) -> dict[str, object]:
    header = {
        "WARC-Type": kind, "WARC-Date": "2024-02-20T21:37:12Z",
        "WARC-Record-ID": f"<urn:uuid:{site.dice.getrandbits(128):032x}>",
        "Content-Length": "30417", "Content-Type": f"application/http; msgtype={kind}",
        "WARC-Warcinfo-ID": "<urn:uuid:668d88fc-4208-41fc-b327-1aa6cb783331>",
        "WARC-IP-Address": "192.0.2.7", "WARC-Target-URI": url,
    }  # fmt: skip
    payload = {"Actual-Content-Type": f"application/http; msgtype={kind}", **payload}
    digest = f"sha1:{site.dice.getrandbits(160):040X}"
    sizes = {"Deflate-Length": "8423", "Header-Length": "10", "Footer-Length": "8",
             "Inflated-CRC": str(site.dice.getrandbits(32)), "Inflated-Length": "977"}  # fmt: skip
    container = {"Filename": f"{_FILE}.gz", "Compressed": True,
                 "Offset": str(site.dice.randrange(10**9)), "Gzip-Metadata": sizes}  # fmt: skip
    if new:
        envelope = {"Payload-Metadata": {**payload, "Block-Digest": digest}, "Format": "WARC/1.0",
                    "WARC-Header-Length": "357", "WARC-Header-Metadata": header}  # fmt: skip
        return {"Container": container, "Envelope": envelope}
    envelope = {"Format": "WARC", "WARC-Header-Length": "357", "Block-Digest": digest,
                "WARC-Header-Metadata": header, "Payload-Metadata": payload}  # fmt: skip
    return {"Envelope": envelope, "Container": container}


def _page(
    dice: random.Random, number: int, new: bool, dense: bool
) -> Iterator[tuple[str, dict[str, object]]]:
    site = _Site(dice, number)
    path = site.page()
    url = site.root + path
    request = {
        "HTTP-Request-Metadata": {
            "Request-Message": {"Method": "GET", "Path": path, "Version": "HTTP/1.1"},
            "Headers-Length": "263",
            "Headers": {"User-Agent": "CCBot/2.0 (https://commoncrawl.org/faq/)",
                        "Accept-Language": "en-US,en;q=0.5", "Host": site.host},
            "Entity-Length": "0",
        }
    }  # fmt: skip
    if not dense:
        yield url, _envelope(site, "request", request, url, new)
    if dense:
        links = _dense_links(site)
        html: dict[str, object] = {"Links": links if new else [*map(_old, links)]}
    else:
        html = {"Head": _head(site, new), "Links": _links(site, new)}
    response = {
        "HTTP-Response-Metadata": {
            "Response-Message": {"Version": "HTTP/1.1", "Status": "200", "Reason": "OK"},
            "Headers-Length": "560",
            "Headers": {"Date": "Tue, 20 Feb 2024 21:37:12 GMT", "Server": "nginx",
                        "Content-Type": "text/html; charset=UTF-8", "Vary": "Accept-Encoding",
                        "X-Crawler-Transfer-Encoding": "chunked", "Connection": "keep-alive"},
            "HTML-Metadata": html,
            "Entity-Length": "29857",
        }
    }  # fmt: skip
    yield url, _envelope(site, "response", response, url, new)
    languages = {"reliable": True, "text-bytes": 3112, "languages": [
        {"code": site.code, "code-iso-639-3": "xxx", "text-covered": 0.97, "score": 1013.0,
         "name": site.code.upper()}]}  # fmt: skip
    records = [{"Name": "fetchTimeMs", "Value": str(dice.randint(20, 3000))},
               {"Name": "charset-detected", "Value": "UTF-8"},
               {"Name": "languages-cld2", "Value": _json(languages)}]  # fmt: skip
    metadata = {"WARC-Metadata-Metadata": {"Metadata-Records": records}}
    yield url, _envelope(site, "metadata", metadata, url, new)


def _json(document: object) -> str:
    """Encode as org.json does: no blanks, text unescaped, `</` escaped."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")


def _member(url: str, kind: str, block: bytes) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\n"
        "WARC-Date: 2024-03-01T07:11:02Z\r\n"
        "WARC-Record-ID: <urn:uuid:3d3f4785-c69a-4f8c-968c-d23302c55ef4>\r\n"
        "WARC-Refers-To: <urn:uuid:292f457d-203c-42f2-a1b5-69a4dabefd4f>\r\n"
        f"Content-Type: application/{'json' if kind == 'metadata' else 'warc-fields'}\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(head.encode() + block + b"\r\n\r\n") + packer.flush()


def members(seed: int, layout: str) -> Iterator[bytes]:
    """The members of a WAT file without end."""
    dice = random.Random(seed)
    yield _member(
        f"{_FILE}.wat.gz", "warcinfo", b"Software-Info: ia-web-commons\r\nformat: WARC\r\n"
    )
    number = 0
    while True:
        new = layout == "new" or (layout in ("mixed", "dense") and number % 2 == 0)
        for url, document in _page(dice, number, new, layout == "dense"):
            yield _member(url, "metadata", _json(document).encode())
        number += 1


def open_corpus(megabytes: float = MEGABYTES, seed: int = SEED, layout: str = "mixed") -> Path:
    """The path of the file, which is made when it is not there yet (some 20 s)."""
    path = CACHE / f"wat-{layout}-{seed}-{megabytes:g}.warc.wat.gz"
    if path.exists():
        return path
    CACHE.mkdir(exist_ok=True)
    staging_path = path.with_suffix(".making")
    written = 0
    with staging_path.open("wb") as file:
        for member in members(seed, layout):
            written += file.write(member)
            if written >= megabytes * 1e6:
                break
    staging_path.rename(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=MEGABYTES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--layout", choices=LAYOUTS, default="mixed")
    options = parser.parse_args()
    path = open_corpus(options.megabytes, options.seed, options.layout)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
