"""Fetch the images of a Ray dataset's rows: a map over its batches.

python examples/07_stream_in_ray_data.py urls.parquet
"""

import argparse

import pyarrow as pa
import ray

import img2ds


def fetch(rows: pa.Table, **flags) -> pa.Table:
    """Return the rows with their images; failed rows have a `reason` and no image."""
    stream = img2ds.stream(rows, caption_col="caption", processes_count=1, **flags)
    return stream.read_all().select(["url", "caption", "image", "width", "height", "reason"])


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("list")
parser.add_argument("--server", help="send every request to this HOST:PORT")
args = parser.parse_args()
flags = {"connect_to": f"::{args.server}", "allow_private_addresses": True} if args.server else {}
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
rows = ray.data.read_parquet(args.list)
images = rows.map_batches(fetch, batch_format="pyarrow", batch_size=10_000, fn_kwargs=flags)
table = pa.concat_tables(ray.get(images.to_arrow_refs()))
print(f"{len(table) - table['image'].null_count} of {len(table)} images")
