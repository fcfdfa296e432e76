"""`laion extract`: WAT files to candidate files, one shard a WAT file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from img2ds.core.failure import UsageError
from img2ds.core.pair_digest import pair_digest
from img2ds.engine.sequential import SequentialWorker
from img2ds.engine.shard_output import ShardOutput
from img2ds.report.console import Labels
from img2ds.report.counters import Counts
from img2ds.report.units import counted
from img2ds.storage import InputFile, RetryingFile
from laion.data.candidate import Candidate
from laion.stage import StageReport, StageSpec, file_fingerprint, open_stage
from laion.wat.archive import TruncatedError, read_records
from laion.wat.candidate_file import CandidateWriter
from laion.wat.catalog import choose, digest, find_all_wats
from laion.wat.language import DETECTORS, UNKNOWN, known_codes, page_language
from laion.wat.license import license_kind, page_license
from laion.wat.options import ALL, ExtractOptions
from laion.wat.page import Page, Wanted, read_page
from laion.wat.rules import Drop, Rules, largest_candidate
from laion.wat.sifting import sift
from laion.wat.urljoin import Joiner
from laion.wat.warc import Records

IMAGES = Labels("shard", "images", "images/s", "kept")
DOCUMENTS = Labels("shard", "documents", "documents/s", "kept")

#: Pages between two reports of progress.
REPORT_EVERY = 3000

#: An enum's value costs as much to look up as a rule to ask.
_NO_ALT, _LANGUAGE = Drop.NO_ALT.value, Drop.LANGUAGE.value


class Extractor:
    """Takes the candidates out of one WAT file's records, and counts.

    Args:
        wat: the WAT file's name, for the column.
        attributes: attributes of `<img>` whose images are taken, where images are.
    """

    def __init__(self, wat: str, rules: Rules, attributes: Sequence[str], counts: Counts) -> None:
        self._wat = wat
        self._rules = rules
        self._is_truncated = False
        self._has_records = False
        document = rules.document
        self._wanted = Wanted(
            tuple(name.encode() for name in attributes),
            tuple(name.encode() for name in document.extensions),
            not document.needs_text,
        )
        srcsets = {n for n, name in enumerate(attributes) if name.endswith("srcset")}
        self._srcsets = srcsets if document.is_image else set()
        self._counts = counts
        metrics = counts.metrics
        # Named here so that every commit marker has them, in this order.
        self._metric = "images" if document.is_image else "documents"
        for name in ("records", "damaged_members", "bad_records", "pages", self._metric):
            metrics[name] += 0

    def pages(self, records: Records) -> Iterator[list[Candidate]]:
        """The candidates of each page in turn, some of them none.

        A page's language stands in a record of its own behind the page's, so a page waits
        for it.
        """
        metrics = self._counts.metrics
        waiting: Page | None = None
        for record in self._whole(records):
            metrics["records"] += 1
            if record is None:
                metrics["records"] -= 1
                metrics["damaged_members"] += 1
                continue
            data, start, end = record
            if start == end:
                continue
            page = read_page(data, start, end, self._wanted)
            if page is None:
                metrics["bad_records"] += 1
                continue
            self._has_records = True
            if page.is_response:
                if waiting is not None:
                    yield self.judge(waiting, "")
                waiting = page
            elif page.is_metadata and waiting is not None and page.url == waiting.url:
                yield self.judge(waiting, page_language(page.languages))
                waiting = None
        if waiting is not None:
            yield self.judge(waiting, "")

    def _whole(self, records: Records) -> Records:
        try:
            yield from records
        except TruncatedError:
            self._is_truncated = True

    def check(self) -> None:
        """Check the file, once its pages were taken. What is allowed is counted.

        Raises:
            OSError: its end is missing, or it has no WAT record, as another file under its name.
        """
        problems = {
            "truncated_files": (self._is_truncated, "its end is missing"),
            "files_without_records": (not self._has_records, "it has no WAT record"),
        }
        for metric, (is_so, words) in problems.items():
            if is_so and not self._rules.allow_damaged:
                raise OSError(
                    f"{self._wat}: {words}: fetch it again, or pass --allow_damaged to take it so"
                )
            if is_so:
                self._counts.metrics[metric] += 1

    def judge(self, page: Page, page_code: str) -> list[Candidate]:
        """The candidates of one page; its images are counted, each once."""
        counts, rules = self._counts, self._rules
        page_url = page.url or ""
        license_url = page_license(page.head_licenses, page.licenses, page_url)
        detect = DETECTORS[rules.language_rule]
        urls = page.urls
        if self._srcsets:
            urls = [
                largest_candidate(url) if which in self._srcsets else url
                for url, which in zip(urls, page.attributes, strict=True)
            ]
        kept: list[Candidate] = []
        dropped: dict[str, int] = {}
        languages: defaultdict[str, int] = defaultdict(int)
        if urls:
            addresses, texts, dropped = sift(urls, page.alts, Joiner(page_url, page.base), rules)
            wanted, wat = rules.languages, self._wat
            for address, text in zip(addresses, texts, strict=True):
                language = detect(text) if text else UNKNOWN
                languages[language] += 1
                if wanted is None or language in wanted:
                    pair = pair_digest(address, text)
                    kept.append(
                        Candidate(
                            address, text, license_url, language, page_code, page_url, wat, pair
                        )
                    )
            if len(kept) < len(texts):
                dropped[_LANGUAGE] = len(texts) - len(kept)
        if page.without_alt:
            dropped[_NO_ALT] = dropped.get(_NO_ALT, 0) + page.without_alt
        metrics = counts.metrics
        metrics["pages"] += 1
        metrics[self._metric] += len(page.urls) + page.without_alt
        for reason, times in dropped.items():
            counts.drop(reason, times)
        for language, times in languages.items():
            metrics[f"language_{language}"] += times
        if kept:
            counts.successes += len(kept)
            metrics[f"license_{license_kind(license_url)}"] += len(kept)
        return kept


@dataclass(frozen=True, slots=True)
class WatTask:
    """One WAT file. `path` opens it in any process; `name` stands in the column."""

    shard_id: int
    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a worker does with a task: see `SequentialWorker.make`."""

    rules: Rules
    attributes: tuple[str, ...]

    def __call__(self, task: WatTask, shard: ShardOutput) -> None:
        path = shard.path(f"{shard.name}.parquet")
        extractor = Extractor(task.name, self.rules, self.attributes, shard.counts)
        with RetryingFile(task.path) as file, CandidateWriter(path, f"{path}.rows") as writer:
            for n, rows in enumerate(extractor.pages(read_records(file, task.path))):
                writer.add(rows)
                if n % REPORT_EVERY == 0:
                    shard.counts.bytes_received = file.bytes_read
                    shard.report_progress()
            shard.counts.bytes_received = file.bytes_read
            extractor.check()
            writer.finish()
        damaged = shard.counts.metrics["damaged_members"]
        if damaged:
            shard.notes.append(f"{task.name}: {counted(damaged, 'damaged gzip member')} skipped")


def run(options: ExtractOptions) -> StageReport:
    """Extract. Blocks until that is done or stopped.

    Raises:
        UsageError: something about the options, the input or the output folder cannot work;
            nothing was done.
    """
    options = options.as_begun()
    unknown = set(options.wanted_languages) - known_codes() - {ALL}
    if unknown:
        raise UsageError(
            f"--languages: CLD2 knows no language {sorted(unknown)[0]!r}; codes are such as en, de"
        )
    wats = choose(
        find_all_wats(options.wat, options.bucket), options.first, options.sample, options.seed
    )
    extraction = Extraction(options.rules, options.attributes)
    spec = StageSpec(
        stage="extract",
        options=options,
        fingerprint=wat_fingerprint(options.wat, wats),
        shard_count=len(wats),
        labels=IMAGES if options.rules.document.is_image else DOCUMENTS,
    )
    with open_stage(spec) as build:
        build.run(SequentialWorker(build.folder, extraction), wat_tasks(wats, build.first_shard))
    return build.report


def wat_fingerprint(places: Sequence[str], wats: Sequence[InputFile]) -> dict[str, Any]:
    """Return the fingerprint of WAT files that were found at `places`."""
    place = InputFile(",".join(places), len(wats))
    return file_fingerprint("wat", [place], digest=digest(wats))


def wat_tasks(wats: Sequence[InputFile], first: int) -> list[WatTask]:
    """Return a task for each WAT file, numbered from `first` on."""
    return [WatTask(first + n, wat.path, wat.name) for n, wat in enumerate(wats)]
