"""Download a csv list with the columns url and caption into webdataset shards.

    python examples/01_download_list.py urls.csv images

Rerun the same command to resume.
"""

import argparse
import sys

import img2ds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url_list")
    parser.add_argument("output_folder")
    parser.add_argument("--server", help="send all requests to this HOST:PORT")
    args = parser.parse_args()
    network = {}
    if args.server:
        network = {"connect_to": f"::{args.server}", "allow_private_addresses": True}
    report = img2ds.download(
        url_list=args.url_list,
        caption_col="caption",
        output_folder=args.output_folder,
        output_format="webdataset",
        image_size=256,
        number_sample_per_shard=1000,
        **network,
    )
    print(f"{report.tally.successes} of {report.tally.count} images")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
