"""Run the laion pipeline from WAT files to a release. `laion run` does the same from a file.

    laion tiny_clip --output_folder tiny
    python examples/05_laion_stages.py wats out --model tiny/tiny.json --pretrained tiny/tiny.pt

Rerun the same command to resume.
"""

import argparse
import sys

from laion import cli


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wat")
    parser.add_argument("folder")
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--pretrained", default="laion400m_e32")
    parser.add_argument("--threshold", default="0.3")
    parser.add_argument("--server", help="send all requests to this HOST:PORT")
    args = parser.parse_args()
    web = f"--connect_to ::{args.server} --allow_private_addresses" if args.server else ""
    clip, out = f"--model {args.model} --pretrained {args.pretrained}", args.folder
    for command in (
        f"extract --wat {args.wat} --output_folder {out}/candidates",
        f"dedup --input {out}/candidates --output_folder {out}/unique",
        f"download --input {out}/unique --output_folder {out}/shards {web}",
        f"score --input {out}/shards --output_folder {out}/scored {clip}",
        f"tag --input {out}/scored --output_folder {out}/tagged",
        f"release --input {out}/tagged --output_folder {out}/release --threshold {args.threshold}",
    ):
        if code := cli.run(command.split()):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
