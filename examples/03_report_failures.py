"""Group the failed rows of a dataset by reason, with one example URL for each.

python examples/03_report_failures.py images
"""

import argparse
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    args = parser.parse_args()
    files = sorted(map(str, Path(args.folder).glob("*.parquet")))
    table = ds.dataset(files).to_table(columns=["status", "reason", "url"])
    failed = table.filter(pc.field("status") != "success")
    groups = failed.group_by(["status", "reason"]).aggregate([("url", "count"), ("url", "max")])
    print(f"{failed.num_rows:,} of {table.num_rows:,} rows failed")
    for row in groups.sort_by([("url_count", "descending")]).to_pylist():
        name = f"{row['status']} {row['reason']}"
        print(f"{row['url_count']:>9,}  {name:<45}  {row['url_max']}")


if __name__ == "__main__":
    main()
