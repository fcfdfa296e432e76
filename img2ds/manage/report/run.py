"""`img2ds report`: write the page of a dataset."""

from __future__ import annotations

import os
from dataclasses import dataclass

from img2ds.core.failure import UsageError
from img2ds.manage.dataset import Dataset
from img2ds.manage.options import ReportOptions
from img2ds.manage.report.gather import gather
from img2ds.manage.report.page import page
from img2ds.report.units import size
from img2ds.storage.filesystem import as_usage_error


@dataclass(frozen=True, slots=True)
class Written:
    """The page that was written."""

    path: str
    size: int

    @property
    def exit_code(self) -> int:
        return 0

    @property
    def text(self) -> str:
        return f"{self.path} written ({size(self.size)})"


def run(options: ReportOptions) -> Written:
    """Write the page.

    Raises:
        UsageError: there is no dataset, or the page cannot be written.
    """
    dataset = Dataset.open(options.output_folder)
    path = os.path.abspath(options.html)
    if os.path.dirname(path) == dataset.folder.path:
        raise UsageError(
            f"--html {options.html} is in the dataset's folder, where readers take it for data: "
            "choose another place"
        )
    with as_usage_error(f"read {options.output_folder}"):
        contents = gather(dataset)
    title = options.title or os.path.basename(dataset.folder.path.rstrip("/"))
    html = page(contents, title).encode(errors="replace")
    with as_usage_error(f"write {options.html}"):
        staged = f"{path}.{os.getpid()}"
        with open(staged, "wb") as file:
            file.write(html)
        os.replace(staged, path)
    return Written(options.html, len(html))
