"""`img2ds doctor`: all checks, as a page or as JSON."""

from __future__ import annotations

import json
import os
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from img2ds.config.help import page_width
from img2ds.engine.cores import usable_cores
from img2ds.manage.doctor.finding import Finding, Level
from img2ds.manage.doctor.limits import Load, limits
from img2ds.manage.doctor.plug_ins import plug_ins
from img2ds.manage.doctor.surroundings import certificates, disk, name_servers, parts, proxies
from img2ds.manage.options import DoctorOptions
from img2ds.net.proxies import read_rules
from img2ds.report.units import counted


@dataclass(slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        processes: the worker processes that it was checked for.
    """

    processes: int
    findings: list[Finding] = field(default_factory=list)
    as_json: bool = False

    @property
    def exit_code(self) -> int:
        """1 if something has to be mended, else 0."""
        return int(any(finding.level is Level.BAD for finding in self.findings))

    @property
    def text(self) -> str:
        """The page, or the JSON."""
        return json.dumps(self.document(), indent=1) if self.as_json else "\n".join(self._page())

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "processes_count": self.processes,
            "ok": not self.exit_code,
            "findings": [
                {"subject": f.subject, "level": f.level.value, "text": f.text, "advice": f.advice}
                for f in self.findings
            ],
        }

    def _page(self) -> Iterator[str]:
        width = page_width()
        start = " " * 22
        for found in self.findings:
            head = f"{found.level.value:<5} {found.subject:<15} "
            yield from textwrap.wrap(
                found.text, width, initial_indent=head, subsequent_indent=start,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
            if found.advice:
                yield from textwrap.wrap(
                    found.advice, width, initial_indent=f"{start}-> ",
                    subsequent_indent=f"{start}   ", break_long_words=False,
                    break_on_hyphens=False,
                )  # fmt: skip
        yield ""
        levels = Counter(found.level for found in self.findings)
        if levels[Level.BAD]:
            yield f"{counted(levels[Level.BAD], 'problem')} to mend before a run"
        else:
            yield f"ready for {counted(self.processes, 'process')}"


def run(options: DoctorOptions) -> Diagnosis:
    """Check this machine. Takes seconds. Raises UsageError."""
    network = options.network()
    processes = options.processes_count or usable_cores()
    diagnosis = Diagnosis(processes, as_json=options.json)
    add = diagnosis.findings.extend
    add(parts())
    add(plug_ins())
    checked = list(proxies(network, os.environ))
    usable = all(finding.level is Level.OK for finding in checked)
    proxied = usable and read_rules(network.proxy, os.environ) is not None
    add(limits(Load(processes, options.thread_count, proxied)))
    add(checked)
    add(name_servers(network, proxied))
    add([certificates(network)])
    add(disk(options.output_folder))
    return diagnosis
