"""Retry the failed rows of a dataset, verify its shards, and print its status.

python examples/04_retry_and_verify.py images
"""

import argparse
import subprocess
import sys


def img2ds(command: str, folder: str, *flags: str) -> int:
    """Run `img2ds COMMAND`; returns its exit code, see docs/commands.md."""
    call = [sys.executable, "-m", "img2ds", command, "--output_folder", folder, *flags]
    print("$ img2ds", *call[3:], flush=True)
    return subprocess.run(call, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--server", help="send all requests to this HOST:PORT")
    args = parser.parse_args()
    network = []
    if args.server:
        network = ["--connect_to", f"::{args.server}", "--allow_private_addresses"]
    if img2ds("retry", args.folder, "--timeout", "30", *network):
        return 1
    if img2ds("verify", args.folder, "--decode"):
        print("run `img2ds verify --repair`, and then the download command again")
        return 1
    return img2ds("status", args.folder)


if __name__ == "__main__":
    sys.exit(main())
