"""WAT records and files for the tests, in Common Crawl's two layouts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from typing import Any

Link = dict[str, str]


def image(url: str, alt: str | None = None, attribute: str = "src") -> Link:
    link = {"path": f"IMG@/{attribute}", "url": url}
    return link if alt is None else {**link, "alt": alt}


def response(
    links: Sequence[Any],
    url: str = "https://www.example.org/shop/page.html",
    *,
    head: dict[str, Any] | None = None,
    old: bool = False,
) -> dict[str, Any]:
    """The document of a page's response record."""
    html: dict[str, Any] = {"Head": head or {}, "Links": links}
    if old:
        html["Links"] = [dict(sorted(link.items())) for link in links]
    payload = {
        "Actual-Content-Type": "application/http; msgtype=response",
        "HTTP-Response-Metadata": {"Response-Message": {"Status": "200"}, "HTML-Metadata": html},
    }
    header = {"WARC-Type": "response", "WARC-Target-URI": url}
    if old:
        return {"Envelope": {"WARC-Header-Metadata": header, "Payload-Metadata": payload}}
    return {
        "Container": {"Filename": "made.warc.gz"},
        "Envelope": {"Payload-Metadata": payload, "WARC-Header-Metadata": header},
    }


def metadata(code: str, url: str = "https://www.example.org/shop/page.html") -> dict[str, Any]:
    """The document of the record behind it, which tells the page's language."""
    languages = json.dumps({"reliable": True, "languages": [{"code": code}, {"code": "xx"}]})
    records = [
        {"Name": "fetchTimeMs", "Value": "2"},
        {"Name": "languages-cld2", "Value": languages},
    ]
    return {
        "Envelope": {
            "Payload-Metadata": {"WARC-Metadata-Metadata": {"Metadata-Records": records}},
            "WARC-Header-Metadata": {"WARC-Type": "metadata", "WARC-Target-URI": url},
        }
    }


def dump(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def record(block: bytes, content_type: str = "application/json") -> bytes:
    """A WARC record."""
    head = (
        "WARC/1.0\r\nWARC-Type: metadata\r\nWARC-Target-URI: https://www.example.org/\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def member(document: Any) -> bytes:
    return gzip.compress(record(dump(document)), mtime=0)


def wat(documents: Iterable[Any]) -> bytes:
    """A WAT file: a warcinfo record and one of each document, a gzip member each."""
    info = record(b"Software-Info: ia-web-commons\r\n", "application/warc-fields")
    return gzip.compress(info, mtime=0) + b"".join(member(document) for document in documents)
