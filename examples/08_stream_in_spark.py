"""Fetch the images of a Spark data frame's rows: mapInArrow.

python examples/08_stream_in_spark.py urls.parquet
"""

import argparse
import os
import sys

from pyspark.sql import SparkSession

import img2ds

SCHEMA = "url string, caption string, image binary, width int, height int, reason string"


def fetch(batches):
    """Yield the rows with their images; failed rows have a `reason` and no image."""
    for batch in batches:
        rows = img2ds.stream(batch, caption_col="caption", processes_count=1, **flags).read_all()
        columns = [name.split()[0] for name in SCHEMA.split(", ")]
        yield from rows.select(columns).to_batches()


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("list")
parser.add_argument("--server", help="send every request to this HOST:PORT")
args = parser.parse_args()
flags = {"connect_to": f"::{args.server}", "allow_private_addresses": True} if args.server else {}
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
images = spark.read.parquet(args.list).mapInArrow(fetch, SCHEMA).cache()
print(f"{images.filter('image is not null').count()} of {images.count()} images")
