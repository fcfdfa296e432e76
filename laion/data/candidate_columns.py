"""The columns of candidate files, and how their rows are cut into partitions.

`laion extract` writes them, `laion dedup` reads and writes them, `img2ds` downloads from them.
"""

from __future__ import annotations

import pyarrow as pa

#: Candidates are partitioned by the top bits of their digest, so that equal pairs of all WAT
#: files meet in one partition and a dedup task is one partition. Six bits: a crawl of 90 000 WAT
#: files with 100 000 kept rows each gives 64 tasks of 140 M rows (a bloom filter of 250 MB at
#: 1e-3, 2.3 GB of digests when sorted exactly), and row groups of 1600 rows, some 250 kB packed:
#: large enough that a range request a row group costs less than its bytes do. Eight bits would
#: make row groups of 60 kB beside footers of 300 kB.
PARTITION_BITS = 6
PARTITION_COUNT = 1 << PARTITION_BITS

#: Bytes of a digest: xxh3_128 of url, a line feed and text, big-endian.
DIGEST_BYTES = 16

#: Key of the file's schema metadata: a JSON list with the partition of each row group, ascending.
PARTITIONS_KEY = b"laion.partitions"

#: What a candidate file's rows are. A text column is never null; what is not known is "".
CANDIDATE_SCHEMA = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("text", pa.string()),
        pa.field("license", pa.string()),
        pa.field("language", pa.string()),
        pa.field("page_language", pa.string()),
        pa.field("page_url", pa.string()),
        pa.field("wat", pa.string()),
        pa.field("digest", pa.binary(DIGEST_BYTES)),
    ]
)
