"""Does img2ds get all of a real list, exactly, and at what cost?

A real list's hosts, schemes, ports and paths are answered on loopback, one row in six with a
failure. The outcome of each row is known in advance, so every number is checked; `--peer`
runs img2dataset on the same rows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import webdataset

from benchmark import measure, peer, tools, web, world
from benchmark.answers import DEAD_HOSTS, FAILING, IMAGE, REASONS, Rule
from benchmark.corpus import open_corpus
from benchmark.measure import Counts, Usage
from benchmark.web import Web

QUESTION = "real_list"


class Checks:
    """What was found, against what was expected."""

    def __init__(self) -> None:
        self._rows: list[list[str]] = []
        self.failed = 0

    def equal(self, what: str, found: object, wanted: object) -> None:
        """Note one comparison."""
        right = found == wanted
        self.failed += not right
        self._rows.append([what, str(found), str(wanted), "" if right else "WRONG"])

    def table(self) -> str:
        return measure.table(["check", "found", "wanted", ""], self._rows)


def read_list(path: Path, rows: int | None) -> pa.Table:
    """The first `rows` rows of the columns URL and TEXT."""
    if not path.is_file():
        world.stop(f"--list: there is no file {path}")
    names = pq.read_schema(path).names
    if missing := {"URL", "TEXT"} - set(names):
        world.stop(f"--list: no column {', '.join(sorted(missing))}; there is {', '.join(names)}")
    return pq.read_table(path, columns=["URL", "TEXT"]).slice(0, rows)


def check_counts(
    checks: Checks, counts: Counts, output: Path, urls: list[str | None], rule: Rule
) -> None:
    """Every row has one outcome, and the right one."""
    answers = Counter(map(rule.answer, urls))
    checks.equal("rows in the stats", counts.rows, len(urls))
    failures = counts.failed_to_download + counts.failed_to_resize
    checks.equal("successes + failures", counts.images + failures, len(urls))
    checks.equal("sum of the reasons", counts.reasons.total(), failures)
    checks.equal("successes", counts.images, answers[IMAGE])
    known: set[str] = set()
    for answer, reasons in REASONS.items():
        if answers[answer]:
            found = sum(counts.reasons[reason] for reason in reasons)
            checks.equal(f"failures by {' or '.join(reasons)}", found, answers[answer])
        known.update(reasons)
    other = {reason: times for reason, times in counts.reasons.items() if reason not in known}
    checks.equal("failures by other reasons", other, {})

    wrong = rows = 0
    for path in sorted(output.glob("*[0-9].parquet")):
        table = pq.read_table(path, columns=["url", "status", "reason"])
        rows += table.num_rows
        for url, status, reason in zip(*(column.to_pylist() for column in table), strict=True):
            answer = rule.answer(url)
            right = status == "success" if answer == IMAGE else reason in REASONS[answer]
            if not right:
                wrong += 1
                print(
                    f"{str(url)[:200]}: {status} {reason}, was answered {answer}", file=sys.stderr
                )
    checks.equal("rows in the metadata", rows, len(urls))
    checks.equal("rows with another outcome than the server's", wrong, 0)


def samples(output: Path) -> Iterator[dict[str, bytes]]:
    """Every sample of every tar, as training code reads it."""
    shards = [str(path) for path in sorted(output.glob("*.tar"))]
    return iter(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))


def check_samples(checks: Checks, counts: Counts, output: Path) -> None:
    """The tars hold the images that the stats count."""
    keys: set[str] = set()
    whole = 0
    for sample in samples(output):
        keys.add(str(sample["__key__"]))
        whole += {"jpg", "json", "txt"} <= sample.keys() and sample["jpg"][:2] == b"\xff\xd8"
    checks.equal("samples that webdataset reads", whole, counts.images)
    checks.equal("keys among them", len(keys), counts.images)


def replay(table: pa.Table, servers: Web, options: argparse.Namespace, folder: Path) -> int:
    """Run, check, print, keep. Returns the number of checks that failed."""
    urls = table["URL"].to_pylist()
    url_list = folder / "list.parquet"
    pq.write_table(table, url_list)
    checks = Checks()
    img2ds, output = tools.img2ds(servers), folder / "img2ds"
    used = {img2ds.name: img2ds.run(url_list, output)}
    requests = servers.requests()
    counts = measure.count(output)
    check_counts(checks, counts, output, urls, servers.rule)
    check_samples(checks, counts, output)
    img2ds.run(url_list, output)
    checks.equal("requests of a second run", servers.requests() - requests, 0)
    checks.equal("stats as before it", measure.count(output) == counts, True)
    print(checks.table(), flush=True)
    failed = len(urls) - servers.rule.images(urls)
    print(f"\n{len(urls)} rows, {failed / len(urls):.1%} of them answered with a failure")
    if options.peer:
        other = tools.img2dataset(servers, options.peer_venv)
        used[other.name] = other.run(url_list, folder / other.name)
    print(compare(used))
    measure.keep(QUESTION, {
        "rows": len(urls), "expected": servers.rule.images(urls), "requests": requests,
        "checks_failed": checks.failed, "system_authorities": not options.own_authority_only,
        "tools": {name: _as_dict(usage) for name, usage in used.items()},
        **({"img2dataset": peer.version(options.peer_venv)} if options.peer else {}),
    })  # fmt: skip
    return checks.failed


def compare(used: dict[str, Usage]) -> str:
    """A table of whole runs, and the ratios where there are two."""
    rows = [
        [name, str(run.images), f"{run.cpu_per_image:.2f}", f"{run.wall:.1f}",
         f"{run.images / run.wall:.0f}", f"{run.peak_rss / 1e6:.0f}"]
        for name, run in used.items()
    ]  # fmt: skip
    head = ["tool", "images", "CPU ms/image", "wall s", "images/s", "peak MB"]
    lines = [measure.table(head, rows)]
    if len(used) == 2:
        ours, theirs = used.values()
        cpu, wall = theirs.cpu_per_image / ours.cpu_per_image, theirs.wall / ours.wall
        lines.append(f"img2ds takes {cpu:.2f}x less CPU an image and {wall:.2f}x less time")
    return "\n".join(lines)


def _as_dict(used: Usage) -> dict[str, float]:
    return {
        "images": used.images, "cpu": used.cpu, "wall": used.wall, "peak_rss": used.peak_rss,
        "cpu_ms_per_image": used.cpu_per_image,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, required=True, help="parquet with URL and TEXT")
    parser.add_argument("--rows", type=int, help="the first so many (default: all)")
    parser.add_argument("--peer", action="store_true", help="run img2dataset on them as well")
    parser.add_argument("--peer_venv", type=Path, default=peer.HOME)
    parser.add_argument("--workers", type=int, default=2, help="processes of the web server")
    parser.add_argument(
        "--own_authority_only", action="store_true",
        help="trust only the benchmark's authority, not the system's",
    )  # fmt: skip
    options = parser.parse_args()
    if options.peer:
        peer.program(options.peer_venv)
    table = read_list(options.list, options.rows)
    world.enter()
    measure.warn_when_busy()
    urls = table["URL"].to_pylist()
    with (
        tempfile.TemporaryDirectory(prefix="img2ds-benchmark-") as name,
        web.serve(
            urls, open_corpus(), failing=FAILING, dead_percent=DEAD_HOSTS,
            workers=options.workers, log_requests=True,
            system_authorities=not options.own_authority_only,
        ) as servers,
    ):  # fmt: skip
        failed = replay(table, servers, options, Path(name))
    if failed:
        sys.exit(f"{failed} checks failed")


if __name__ == "__main__":
    main()
