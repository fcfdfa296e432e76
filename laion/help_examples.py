"""An example for the help page of each command."""

from __future__ import annotations

#: The arguments of a call that works, as the README has them.
EXAMPLES = {
    "extract": "--wat CC-MAIN-2024-10 --first 100 --output_folder candidates",
    "dedup": "--input candidates --output_folder unique",
    "group": "--input unique --output_folder grouped",
    "download": "--input unique --output_folder shards",
    "score": "--input shards --model ViT-B-32 --pretrained laion400m_e32 --output_folder scored",
    "tag": "--input scored --output_folder tagged",
    "annotate": "--input scored --heads aesthetic=aesthetic.pth --output_folder annotated",
    "filter": '--input tagged --where "similarity >= 0.3 AND width >= 200" --output_folder good',
    "dedup_images": "--input tagged --threshold 0.95 --output_folder distinct",
    "crawl": "--input unique --model ViT-B-32 --pretrained laion400m_e32 --output_folder crawled",
    "release": "--input tagged --threshold 0.3 --output_folder release",
    "stats": "--input release",
    "report": "--input release --html release.html",
    "tiny_clip": "--output_folder tiny",
    "dalle": "--input shards --output_folder dalle",
    "run": "--config pipeline.yaml",
    "index": "--input release --output_folder index",
    "search": "--index index --text 'a red bicycle'",
    "serve": "--index index",
}
