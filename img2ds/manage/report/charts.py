"""Charts as SVG, and tables with bars: no script, no font, nothing to load."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from img2ds.report.units import share, three_digits

#: The size of a chart in its own units; pages scale it.
_WIDTH, _HEIGHT, _BOTTOM = 600, 150, 130


def line_chart(title: str, values: Sequence[float], unit: str, total: str) -> str:
    """Return a chart of values at equal distances, from 0 to the highest.

    Args:
        total: what the whole width is, such as `12 min`.
    """
    top = max(values, default=0.0) or 1.0
    step = _WIDTH / max(len(values), 1)
    points = [(index * step, _BOTTOM - value / top * (_BOTTOM - 10))
              for index, value in enumerate(values)]  # fmt: skip
    steps = " ".join(f"L{x:.1f},{y:.1f} L{x + step:.1f},{y:.1f}" for x, y in points)
    area = f"M0,{_BOTTOM} {steps} L{_WIDTH},{_BOTTOM} Z"
    label = f"{title}: at most {three_digits(top)} {unit}, over {total}"
    return (
        f"<figure><figcaption>{escape(title)} <b>{three_digits(top)}</b> {escape(unit)} at most"
        f'</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(label)}"><path class="area" d="{area}"/>'
        f'<line x1="0" x2="{_WIDTH}" y1="{_BOTTOM}" y2="{_BOTTOM}"/>'
        f'<text x="0" y="{_HEIGHT - 4}">0</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 4}" text-anchor="end">{escape(total)}</text>'
        "</svg></figure>"
    )


def _bar(length: float) -> str:
    return f'<span style="width:{100 * length:.1f}%"></span>' if length else ""


def bars(rows: Sequence[tuple[str, int]], whole: int, head: str, what: str = "rows") -> str:
    """Return a table of counts, each with its share of `whole` and a bar.

    Args:
        what: what is counted.
    """
    top = max((count for _, count in rows), default=0) or 1
    lines = [
        f"<tr><th scope=row>{escape(name)}</th><td class=n>{count:,}</td>"
        f"<td class=n>{share(count, whole)}</td>"
        f"<td class=bar>{_bar(count / top)}</td></tr>"
        for name, count in rows
    ]
    return (
        f"<table class=bars><thead><tr><th>{escape(head)}</th><th class=n>{escape(what)}</th>"
        f"<th class=n>share</th><th></th></tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )
