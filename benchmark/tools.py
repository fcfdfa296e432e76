"""The tools that are compared: how each is called for the same list, the same images out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmark import measure, peer
from benchmark.measure import Usage
from benchmark.web import Web

#: Processes of each tool, and threads of each of img2dataset's: the setting that was measured
#: before img2ds was begun, near its best on two cores.
PROCESSES = 2
PEER_THREADS = 64
#: Rows in a shard: several shards a process even on short lists.
SHARD = 500


@dataclass(frozen=True, slots=True)
class Tool:
    """A command and what it needs in addition to the flags that both tools share."""

    name: str
    command: tuple[str, ...]
    flags: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def line(self, url_list: Path, output_folder: Path) -> list[str]:
        """The command that downloads a parquet list with the columns URL and TEXT."""
        flags = {
            "url_list": str(url_list), "input_format": "parquet", "url_col": "URL",
            "caption_col": "TEXT", "output_folder": str(output_folder),
            "output_format": "webdataset", "image_size": "256", "resize_mode": "border",
            "encode_quality": "95", "number_sample_per_shard": str(SHARD),
            "processes_count": str(PROCESSES), **self.flags,
        }  # fmt: skip
        return [*self.command, *(f"--{name}={value}" for name, value in flags.items())]

    def run(self, url_list: Path, output_folder: Path) -> Usage:
        """Run `line`.

        Raises:
            RunFailed: the tool exits with an error code.
        """
        return measure.run(self.line(url_list, output_folder), self.environment, output_folder)


def img2ds(web: Web) -> Tool:
    """This repository's, in the Python that runs the benchmark."""
    return Tool(
        "img2ds",
        (sys.executable, "-m", "img2ds"),
        {"ca_bundle": str(web.ca_bundle), "allow_private_addresses": "True"},
    )


def img2dataset(web: Web, home: Path) -> Tool:
    """img2dataset in the virtual environment `home`. It has no retries either, by default."""
    return Tool(
        "img2dataset",
        (peer.program(home),),
        {"thread_count": str(PEER_THREADS)},
        {
            "SSL_CERT_FILE": str(web.ca_bundle),
            # Its libraries would ask their makers for news.
            "NO_ALBUMENTATIONS_UPDATE": "1",
            "WANDB_MODE": "disabled",
        },
    )


def floor(web: Web) -> Tool:
    """Not a tool: the bare calls that one is made of, see `benchmark.floor`."""
    return Tool(
        "floor",
        (sys.executable, "-m", "benchmark.floor"),
        {"ca_bundle": str(web.ca_bundle)},
        {"PYTHONPATH": str(measure.HERE.parent)},
    )
