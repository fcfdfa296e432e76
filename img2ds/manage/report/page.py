"""The report of a dataset as HTML: one file that needs nothing else, for screens of any width."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from html import escape

from img2ds.manage.report.charts import bars, line_chart
from img2ds.manage.report.gather import SIDES, Contents, Thumbnail
from img2ds.manage.report.timeline import timeline
from img2ds.manage.status import Status
from img2ds.manage.status_page import numbers
from img2ds.report.units import counted, duration, share, size, three_digits

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--fill:#2f6feb;
--back:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--fill:#4c8dff;
--back:#0d1117}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:24px 16px 64px;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:0;overflow-wrap:anywhere}h2{font-size:17px;margin:36px 0 10px}
p{margin:6px 0}.soft,figcaption,thead{color:var(--soft)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:10px;margin:18px 0}
.facts div{border:1px solid var(--line);border-radius:8px;padding:10px 12px}
.facts b{display:block;font-size:20px;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(280px,1fr));gap:18px}
figure{margin:0}svg{width:100%;height:auto;display:block}svg line{stroke:var(--line)}
svg text{fill:var(--soft);font-size:13px}.area{fill:var(--fill);fill-opacity:.75}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:4px 10px 4px 0;vertical-align:top;border-bottom:1px solid var(--line);
font-weight:400}
thead th{font-size:13px}.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.bar{width:35%}.bar span{display:block;height:12px;margin-top:6px;background:var(--fill);
border-radius:3px;min-width:1px}
.wide td{overflow-wrap:anywhere}.wide th[scope]{overflow-wrap:break-word}
.wide .n{padding-right:18px}
.images{display:grid;grid-template-columns:repeat(auto-fill,minmax(128px,1fr));gap:12px}
.images figure{min-width:0}.images img{width:100%;aspect-ratio:1;object-fit:cover;border-radius:6px;
display:block}
.images figcaption{font-size:12px;overflow:hidden;display:-webkit-box;-webkit-line-clamp:2;
-webkit-box-orient:vertical;overflow-wrap:anywhere}
details{border-bottom:1px solid var(--line);padding:6px 0}summary{cursor:pointer}
details p{font-size:13px;overflow-wrap:anywhere}a{color:var(--fill)}
@media(max-width:520px){.bar{display:none}body{padding:16px 12px 48px}}
"""


def page(contents: Contents, title: str) -> str:
    """Return the page."""
    status = contents.status
    body = "".join(
        (
            f"<h1>{escape(title)}</h1><p class=soft>{escape(_summary(status))}</p>",
            _facts(contents),
            *_charts(contents),
            *_outcomes(contents),
            *_images(contents),
            *_durations(contents),
            *_sides(contents),
            *_hosts(contents),
            *_examples(contents),
            *_options(status),
        )
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
        'content="width=device-width,initial-scale=1"><meta name=referrer content=no-referrer>'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><body>{body}</body></html>\n"
    )


def _summary(status: Status) -> str:
    state = "complete" if status.complete else "incomplete"
    missing = sum(len(segment.missing) for segment in status.segments)
    words = [status.folder, status.output_format, state]
    if missing:
        words.append(f"{counted(missing, 'shard')} missing")
    return " · ".join(words)


def _facts(contents: Contents) -> str:
    status, points = contents.status, timeline(contents.spans)
    seconds = sum(point.seconds for point in points)
    good = status.tally.successes
    facts = [
        (f"{status.rows:,}", "rows"),
        (f"{good:,}", f"images ({share(good, status.rows)})"),
        (f"{status.committed:,}", "shards"),
        (size(status.size), "in files of shards"),
    ]
    if seconds > 1:
        facts += [
            (duration(seconds), "of work"),
            (three_digits(good / seconds), "images/s on average"),
        ]
    return "<div class=facts>{}</div>".format(
        "".join(f"<div><b>{escape(number)}</b>{escape(word)}</div>" for number, word in facts)
    )


def _charts(contents: Contents) -> Iterator[str]:
    points = timeline(contents.spans)
    if not points:
        return
    total = duration(sum(point.seconds for point in points))
    yield "<h2>Over time</h2><div class=charts>"
    yield line_chart("Images", [p.successes / p.seconds for p in points], "/s", total)
    yield line_chart("Received", [p.bytes / p.seconds / 1e6 for p in points], "MB/s", total)
    successes = [100 * p.successes / p.rows if p.rows else 0.0 for p in points]
    yield line_chart("Success", successes, "%", total)
    yield "</div><p class=soft>Pauses between runs are left out.</p>"


def _outcomes(contents: Contents) -> Iterator[str]:
    tally = contents.status.tally
    rows = [("success", tally.successes), *tally.reasons.most_common()]
    yield f"<h2>Outcomes</h2>{bars(rows, contents.status.rows, 'reason')}"


def _images(contents: Contents) -> Iterator[str]:
    if contents.thumbnails:
        yield "<h2>Samples</h2><div class=images>"
        yield from map(_image, contents.thumbnails)
        yield "</div>"


def _image(image: Thumbnail) -> str:
    caption = escape(image.caption or image.key)
    data = b64encode(image.jpeg).decode()
    shown = f'<img alt="{caption}" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{_linked(image.url, shown)}<figcaption>{caption}</figcaption></figure>"


def _linked(url: str, html: str) -> str:
    """Return a link, if the URL is one that can be followed: lists have `javascript:` as well."""
    if not url.lower().startswith(("http://", "https://")):
        return html
    return f'<a href="{escape(url)}" rel="noreferrer noopener">{html}</a>'


def _durations(contents: Contents) -> Iterator[str]:
    tally = contents.status.tally
    for title, found, what, words in (
        ("Time of an attempt at a URL", tally.fetches, "attempts",
         "From the request to the end of the image, redirects and failures included."),
        ("Time of a name lookup", tally.lookups, "lookups",
         "Of new connections. Names that are known already take less than 1 ms."),
    ):  # fmt: skip
        if found.total:
            yield f"<h2>{title}</h2>{bars(found.rows(), found.total, 'time', what)}"
            yield f"<p class=soft>{words}</p>"


def _sides(contents: Contents) -> Iterator[str]:
    if not contents.sides:
        return
    names = [
        f"{low:,} to {high - 1:,} px" if high else f"from {low:,} px"
        for low, high in zip(SIDES, (*SIDES[1:], 0), strict=True)
    ]
    rows = [(names[place], contents.sides[place]) for place in range(len(SIDES))]
    yield "<h2>Shorter side of originals</h2>"
    yield bars(rows, contents.sides.total(), "side")
    yield _read(contents)


def _hosts(contents: Contents) -> Iterator[str]:
    if not contents.worst_hosts:
        return
    yield "<h2>Hosts that fail most</h2><table class=wide><thead><tr><th>host</th>"
    yield "<th class=n>failed</th><th class=n>of rows</th><th>mostly</th></tr></thead><tbody>"
    for name, host in contents.worst_hosts:
        reason, times = host.reasons.most_common(1)[0]
        yield (
            f"<tr><th scope=row>{escape(name)}</th><td class=n>{host.reasons.total():,}</td>"
            f"<td class=n>{host.rows:,}</td><td>{escape(reason)} ({times:,})</td></tr>"
        )
    yield f"</tbody></table>{_read(contents)}"


def _read(contents: Contents) -> str:
    if contents.rows_read >= contents.status.rows:
        return ""
    return f"<p class=soft>From {contents.rows_read:,} of {contents.status.rows:,} rows.</p>"


def _examples(contents: Contents) -> Iterator[str]:
    if not contents.examples:
        return
    yield "<h2>Examples of failures</h2>"
    counts = contents.status.tally.reasons
    for reason in sorted(contents.examples, key=lambda reason: -counts.get(reason, 0)):
        yield f"<details><summary>{escape(reason)} ({counts.get(reason, 0):,})</summary>"
        for url, message in contents.examples[reason]:
            text = escape(url) or "(empty)"
            yield f"<p>{_linked(url, text)}<br><span class=soft>{escape(message)}</span></p>"
        yield "</details>"


def _options(status: Status) -> Iterator[str]:
    yield "<h2>Configuration</h2><table class=wide><tbody>"
    for segment in status.segments:
        words = segment.input + (
            f"; missing: {numbers(segment.missing)}" if segment.missing else ""
        )
        yield f"<tr><th scope=row>input</th><td>{escape(words)}</td></tr>"
    for name, value in sorted(status.options.items()):
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield f"<tr><th scope=row>{escape(name)}</th><td>{escape(shown)}</td></tr>"
    yield "</tbody></table>"
