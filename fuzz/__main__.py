"""Fuzz the compiled extensions by libFuzzer, under AddressSanitizer and UBSan. Needs clang.

    python -m fuzz                      # a minute in all
    python -m fuzz --seconds 600 jpeg   # ten minutes of one

An input that fails is written to build/fuzz; build/fuzz/NAME FILE runs it again.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from fuzz.seeds import SEEDS

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "fuzz"
#: As in setup.py, with the sanitizers.
FLAGS = [
    "-g", "-O2", "-fno-wrapv", "-ffp-contract=off", "-fsanitize=fuzzer,address,undefined",
    "-fno-sanitize-recover=undefined",
]  # fmt: skip
#: Longest input in bytes, and the memory of a run in MB. Python leaves memory at its end.
LIMITS = ["-max_len=8192", "-rss_limit_mb=2048", "-timeout=10", "-detect_leaks=0"]


def build(name: str) -> Path:
    """Compile a harness together with the extension that it includes."""
    library = sysconfig.get_config_var("LIBDIR")
    target = BUILD / name
    subprocess.run(
        [
            os.environ.get("CLANG", "clang"), *FLAGS, f"-I{sysconfig.get_path('include')}",
            str(HERE / f"fuzz_{name}.c"), "-o", str(target), f"-L{library}",
            f"-lpython{sysconfig.get_config_var('LDVERSION')}", f"-Wl,-rpath,{library}",
        ],
        check=True,
    )  # fmt: skip
    return target


def seed(name: str) -> Path:
    """Write the first inputs; what earlier runs found stays."""
    folder = BUILD / "corpus" / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, body in enumerate(SEEDS[name]()):
        (folder / f"seed-{number}").write_bytes(body)
    return folder


def fuzz(name: str, seconds: int) -> bool:
    """Run a harness. Returns whether nothing was found."""
    command = [
        str(build(name)), str(seed(name)), *LIMITS, f"-max_total_time={seconds}",
        f"-artifact_prefix={BUILD}/{name}-", "-print_final_stats=1",
    ]  # fmt: skip
    environment = {**os.environ, "FUZZ_PYTHON_HOME": sys.base_prefix}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace"
    )
    found = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    runs = int(found[1]) if found else 0
    print(f"{name}: {runs:,} inputs in {seconds} s, exit code {done.returncode}")
    if done.returncode:
        print(done.stderr[-8000:])
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SEEDS)}")
    parser.add_argument("--seconds", type=int, default=60, help="of all harnesses together")
    options = parser.parse_args()
    names = options.names or list(SEEDS)
    unknown = set(names) - set(SEEDS)
    if unknown or not shutil.which(os.environ.get("CLANG", "clang")):
        parser.error(f"no harness: {', '.join(unknown)}" if unknown else "clang is not installed")
    BUILD.mkdir(parents=True, exist_ok=True)
    good = [fuzz(name, options.seconds // len(names)) for name in names]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
