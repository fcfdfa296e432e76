"""What does a WAT file cost to read, against cc2dataset?

One core, one made WAT file, CPU time of the process, the contenders by turns. The baseline is the
algorithm of cc2dataset's `process_wat`, written down here: FastWARC's records, simdjson's document
of each, its image links with a text, `urljoin` for those that are not absolute, and an md5 of
each pair. It neither cleans texts nor tells languages nor looks for licences.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from time import process_time
from typing import Any
from urllib.parse import urljoin

import simdjson
from fastwarc.warc import ArchiveIterator, WarcRecordType

from benchmark import measure
from benchmark.wat_corpus import DENSE_MEGABYTES, LAYOUTS, MEGABYTES, open_corpus
from img2ds.report.counters import Counts
from laion.wat.archive import read_records
from laion.wat.candidate_file import CandidateWriter
from laion.wat.license import page_license
from laion.wat.page import read_page
from laion.wat.rules import Rules
from laion.wat.stage import Extractor
from laion.wat.urljoin import Joiner

QUESTION = "wat"
#: Of the time of a real file: it is this much larger than the made one of a megabyte.
REAL_MEGABYTES = 350
_HTTP = ("http://", "https://")


def baseline(data: bytes) -> int:
    """cc2dataset's way: rows of (uid, url, alt, file, page)."""
    rows: list[tuple[str, str, str, str, str]] = []
    records = ArchiveIterator(BytesIO(data), record_types=WarcRecordType.metadata, parse_http=False)
    for record in records:
        document: Any = simdjson.load(record.reader)
        envelope = document["Envelope"]
        payload = envelope["Payload-Metadata"]
        if "HTTP-Response-Metadata" not in payload:
            continue
        response = payload["HTTP-Response-Metadata"]
        if "HTML-Metadata" not in response or "Links" not in response["HTML-Metadata"]:
            continue
        html = response["HTML-Metadata"]
        file = document["Container"]["Filename"]
        page = base = envelope["WARC-Header-Metadata"]["WARC-Target-URI"]
        if "Head" in html and "Base" in html["Head"]:
            base = urljoin(page, html["Head"]["Base"])
        images = [
            {"url": link["url"], "alt": link["alt"]}
            for link in html["Links"]
            if link.get("path", "") == "IMG@/src" and len(link.get("alt", "")) > 0
        ]
        joined = [{"url": _absolute(image["url"], base), "alt": image["alt"]} for image in images]
        for image in [image for image in joined if image["url"].startswith(_HTTP)]:
            uid = hashlib.md5((image["alt"] + image["url"]).encode()).hexdigest()
            rows.append((uid, image["url"], image["alt"], file, page))
    return len(rows)


def _absolute(url: str, base: str) -> str:
    if url.startswith(_HTTP):
        return url
    try:
        return urljoin(base, url)
    except ValueError:
        return url


def unpack(data: bytes) -> int:
    """The floor: every record unpacked and cut, none read."""
    return sum(1 for _ in read_records(BytesIO(data)))


def fastwarc(data: bytes) -> int:
    """FastWARC's floor."""
    records = ArchiveIterator(BytesIO(data), record_types=WarcRecordType.metadata, parse_http=False)
    return sum(1 for record in records if record.reader.read())


def parse(data: bytes) -> int:
    """(url, alt, licence) of every image with an alt text."""
    rows: list[tuple[str, str, str]] = []
    for record in read_records(BytesIO(data)):
        if record is None or record[1] == record[2]:
            continue
        page = read_page(*record)
        if page is None or not page.is_response:
            continue
        page_url = page.url or ""
        joined = Joiner(page_url, page.base).join_all(page.urls)
        stated = page_license(page.head_licenses, page.licenses, page_url)
        rows.extend(
            (url, alt, stated)
            for url, alt in zip(joined, page.alts, strict=True)
            if alt and url is not None
        )
    return len(rows)


def candidates(data: bytes) -> int:
    """Those, by all rules, cleaned, with languages and digests."""
    counts = Counts()
    extractor = Extractor("made.warc.wat.gz", Rules(), ("src",), counts)
    return sum(len(rows) for rows in extractor.pages(read_records(BytesIO(data))))


def extract(data: bytes) -> int:
    """The candidates written to a file: the whole stage except its start."""
    counts = Counts()
    extractor = Extractor("made.warc.wat.gz", Rules(), ("src",), counts)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/00000.parquet"
        with CandidateWriter(path, f"{path}.rows") as writer:
            for rows in extractor.pages(read_records(BytesIO(data))):
                writer.add(rows)
            writer.finish()
    return counts.successes


CONTENDERS: dict[str, Callable[[bytes], int]] = {
    "cc2dataset's algorithm": baseline,
    "laion: (url, alt, licence)": parse,
    "laion: cleaned, with languages": candidates,
    "laion extract, to parquet": extract,
    "floor: unpacked and cut": unpack,
    "FastWARC: unpacked and cut": fastwarc,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=None)
    parser.add_argument("--layout", choices=LAYOUTS, default="mixed")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    measure.warn_when_busy()
    whole = DENSE_MEGABYTES if options.layout == "dense" else MEGABYTES
    data = open_corpus(options.megabytes or whole, layout=options.layout).read_bytes()
    taken: dict[str, list[float]] = defaultdict(list)
    rows: dict[str, int] = {}
    for _ in range(options.rounds):
        for name, contender in CONTENDERS.items():
            began = process_time()
            rows[name] = contender(data)
            taken[name].append(process_time() - began)
    found = {name: measure.middle(values) for name, values in taken.items()}
    base = found["cc2dataset's algorithm"]
    megabytes = len(data) / 1e6
    print(f"\n{options.layout} layout, {megabytes:.1f} MB, {options.rounds} rounds, medians")
    print(
        measure.table(
            ["what", "CPU s", "speed-up", "rows", "us a row", "s a real WAT"],
            [
                [
                    name, f"{seconds:.3f}", f"{base / seconds:.2f}x", str(rows[name]),
                    f"{1e6 * seconds / rows[name]:.1f}",
                    f"{seconds * REAL_MEGABYTES / megabytes:.1f}",
                ]
                for name, seconds in found.items()
            ],
        )
    )  # fmt: skip
    measure.keep(QUESTION, {
        "layout": options.layout, "megabytes": megabytes, "rounds": options.rounds,
        "seconds": found, "rows": rows,
        "speed_up": {name: base / seconds for name, seconds in found.items()},
    })  # fmt: skip


if __name__ == "__main__":
    main()
