"""A small web of images of shapes, WAT files of its pages, and bad pairs planted in them.

The expected outcome of every pair is known, by rule or from the shapes model's score.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from laion.clip.shapes import COLOURS, SHAPES, draw
from tests.server.encodings import jpeg
from tests.server.sample_web import BackgroundWeb
from tests.server.web import Behaviour, Peer, Request, Server, reply

HOST = "shapes.example"
LICENSE = "http://creativecommons.org/licenses/by/4.0/"

#: A caption that CLD2 detects as English and the model of shapes knows.
TEXT = "a {colour} {shape} on a noisy background"

#: The least size of an image in bytes, by the pipeline's rule.
LEAST_BYTES = 5000

#: Prompts by which stars stand for NSFW content, purple ones for under-age people, green ones for
#: animals; a caption with orange and triangle has a word of both lists.
PROMPTS: dict[str, dict[str, list[str]]] = {
    "nsfw": {
        "safe": [
            f"{word}{shape}" for shape in SHAPES if shape != "star" for word in ("a ", "the ")
        ],
        "unsafe": ["a star", "the star"],
    },
    "underage": {
        "flagged": ["a purple star", "a photo of a purple star"],
        "other": [
            f"{word} {colour} star"
            for colour in COLOURS
            if colour != "purple"
            for word in ("a", "a photo of a")
        ],
    },
    "animals": {
        "flagged": ["a green star", "a photo of a green star"],
        "other": [f"a {colour} star" for colour in COLOURS if colour != "green"],
    },
    "captions": {"underage": ["orange"], "unsafe": ["triangle"]},
}


@dataclass(frozen=True, slots=True)
class Planted:
    """An image in a page: its path, its alt text, and its kind of pair.

    Kinds, by the stage that drops or keeps them:

    * extract: `short` (text), `german`, `svg`, `data_url`
    * dedup: `duplicate` (the same pair on another page)
    * download: `tiny` (under 5000 bytes), `gif`, `gone` (404)
    * score: `mismatch`
    * tag: `underage`, `animal`, `caption`
    * kept: `good`, `flagged` (tagged NSFW), `retold` (a known URL with another text)
    """

    path: str
    alt: str
    kind: str
    width: int = 0
    height: int = 0

    @property
    def url(self) -> str:
        return self.path if ":" in self.path else f"http://{HOST}{self.path}"


class ShapeWorld:
    """The pairs, the bodies behind their paths, and the pages that hold them.

    Args:
        rounds: how often every kind of pair occurs, each time with other images.
    """

    def __init__(self, rounds: int = 1, seed: int = 5) -> None:
        self._rng = np.random.default_rng(seed)
        self.bodies: dict[str, bytes] = {}
        self.planted: list[Planted] = []
        for round_ in range(rounds):
            self._plant(round_)

    def of(self, *kinds: str) -> list[Planted]:
        """The planted pairs of these kinds."""
        return [pair for pair in self.planted if pair.kind in kinds]

    def _plant(self, round_: int) -> None:
        colours = list(COLOURS)
        for shape in SHAPES[:3]:
            for colour in colours:
                if (shape, colour) != ("triangle", "orange"):
                    self._add(shape, colour, "good")
        for colour in ("red", "blue", "yellow", "black"):
            self._add("star", colour, "flagged")
        self._add("star", "purple", "underage")
        self._add("star", "green", "animal")
        self._add("triangle", "orange", "caption")
        for place, shape in enumerate(SHAPES[:3]):
            for step, colour in enumerate(colours[place::2]):
                other = SHAPES[(place + 1 + step % 2) % 3]
                away = colours[(colours.index(colour) + 3) % len(colours)]
                if not (other == "triangle" and away == "orange"):
                    self._add(shape, colour, "mismatch", text=TEXT.format(colour=away, shape=other))
        self._add("circle", "red", "tiny", side=48)
        self._add("square", "blue", "gif")
        self.planted.append(
            Planted(f"/gone/{round_}.jpg", TEXT.format(colour="red", shape="circle"), "gone")
        )
        good = self.of("good")[-20:]
        for pair in good[:4]:
            self.planted.append(Planted(pair.path, pair.alt, "duplicate"))
        for pair in good[4:7]:
            text = pair.alt.replace("noisy", "plain")
            self.planted.append(Planted(pair.path, text, "retold", pair.width, pair.height))
        first = good[0].path
        self.planted.append(Planted(first, "ab", "short"))
        self.planted.append(Planted(first, "ein roter Kreis auf dem Hintergrund", "german"))
        self.planted.append(Planted(f"/logo/{round_}.svg", "a logo of the page", "svg"))
        self.planted.append(Planted("data:image/gif;base64,R0lGOD", "an inline image", "data_url"))

    def _add(
        self, shape: str, colour: str, kind: str, text: str | None = None, side: int | None = None
    ) -> None:
        rng = self._rng
        width, height = (side, side) if side else (int(n) for n in rng.integers(260, 420, 2))
        pixels = draw(rng, width, height, shape, colour).pixels
        ending = "jpg"
        if kind == "gif":
            body = _gif(pixels)
        elif len(self.planted) % 7 == 3 and not side:
            body, ending = _saved(pixels, "PNG"), "png"
        elif len(self.planted) % 7 == 5 and not side:
            body, ending = _saved(pixels, "WEBP", quality=92), "webp"
        else:
            body = jpeg(pixels, 92)
        if kind != "tiny":
            body += bytes(max(0, LEAST_BYTES + 100 - len(body)))  # codecs take no notice of it
        path = f"/shape/{len(self.bodies)}.{ending}"
        self.bodies[path] = body
        alt = text or TEXT.format(colour=colour, shape=shape)
        self.planted.append(Planted(path, alt, kind, width, height))

    def pages(self, size: int = 10) -> Iterator[tuple[str, list[Planted]]]:
        """URL and pairs of each page. Duplicates come after what they repeat, on other pages."""
        for number, start in enumerate(range(0, len(self.planted), size)):
            yield f"http://{HOST}/page/{number}.html", self.planted[start : start + size]

    def write_wats(self, folder: Path, count: int = 2) -> None:
        """The pages in `count` WAT files, in the layout since 2019."""
        folder.mkdir(parents=True, exist_ok=True)
        pages = list(self.pages())
        for number in range(count):
            members = [_member("warcinfo", b"Software-Info: made up\r\n")]
            # One after the other, so that a duplicate is in the same file or in a later one.
            share = -(-len(pages) // count)
            for url, pairs in pages[number * share : (number + 1) * share]:
                licensed = int(url.rpartition("/")[2].partition(".")[0]) % 2 == 0
                documents = map(json.dumps, _documents(url, pairs, licensed))
                members += [_member("metadata", document.encode()) for document in documents]
            path = folder / f"CC-MAIN-20240101000000-{number:05d}.warc.wat.gz"
            path.write_bytes(b"".join(members))


def licensed(pair: Planted, world: ShapeWorld) -> bool:
    """Whether the first page that holds the pair links to a licence."""
    for number, (_, pairs) in enumerate(world.pages()):
        if any((p.url, p.alt) == (pair.url, pair.alt) for p in pairs):
            return number % 2 == 0
    raise LookupError(pair.url)


def _documents(url: str, pairs: list[Planted], licensed: bool) -> Iterator[dict[str, Any]]:
    links: list[Mapping[str, str]] = [
        {"path": "IMG@/src", "url": pair.path, "alt": pair.alt} for pair in pairs
    ]
    if licensed:
        links.append({"path": "A@/href", "url": LICENSE})
    html = {"Head": {"Title": "shapes"}, "Links": links}
    header = {"WARC-Type": "response", "WARC-Target-URI": url}
    payload: dict[str, Any] = {
        "Actual-Content-Type": "application/http; msgtype=response",
        "HTTP-Response-Metadata": {"HTML-Metadata": html},
    }
    yield {
        "Container": {},
        "Envelope": {"Payload-Metadata": payload, "WARC-Header-Metadata": header},
    }
    languages = json.dumps({"reliable": True, "languages": [{"code": "en"}]})
    payload = {
        "Actual-Content-Type": "application/metadata-fields",
        "WARC-Metadata-Metadata": {
            "Metadata-Records": [{"Name": "languages-cld2", "Value": languages}]
        },
    }
    header = {"WARC-Type": "metadata", "WARC-Target-URI": url}
    yield {
        "Container": {},
        "Envelope": {"Payload-Metadata": payload, "WARC-Header-Metadata": header},
    }


def _member(kind: str, block: bytes) -> bytes:
    content = "application/json" if kind == "metadata" else "application/warc-fields"
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Type: {content}\r\n"
        f"Content-Length: {len(block)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0)


def _saved(pixels: np.ndarray[Any, Any], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def _gif(pixels: np.ndarray[Any, Any]) -> bytes:
    return _saved(pixels, "GIF")


class ShapeServer(Server):
    """Serves the bodies of a world, and counts the requests for each path."""

    def __init__(self, bodies: Mapping[str, bytes]) -> None:
        super().__init__(dict[str, Behaviour]())
        self._bodies = bodies

    async def respond(self, request: Request, peer: Peer) -> bool:
        body = self._bodies.get(request.path)
        if body is None:
            await peer.send(reply(b"gone", status=404, content_type="text/plain"))
        else:
            await peer.send(reply(body, content_type="application/octet-stream"))
        return True


class ShapeWeb(BackgroundWeb):
    """A world on loopback; a context manager that gives its address."""

    def __init__(self, world: ShapeWorld) -> None:
        super().__init__([])
        self.web = ShapeServer(world.bodies)  # type: ignore[assignment]
