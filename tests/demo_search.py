"""`make demo-search`: from a sample web of shapes to a running search page.

Images of every colour and shape are served on loopback, downloaded by img2ds, embedded by a small
CLIP model that is trained first, indexed and served. "a red circle" must find red circles.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from img2ds.image.encode import make_encoder
from laion.clip.shapes import COLOURS, SHAPES, ShapeImage, shape_images
from tests.server.sample_web import HOSTS, BackgroundWeb

FOLDER = Path("demo_search")
#: Images of each colour and shape: twice what precision@10 needs.
EACH = 20
#: Seed of the images; different from that of the training images.
SEED = 77

#: Least mean share of the first ten results that match the text.
MIN_PRECISION = 0.8

#: Seconds until the page must respond; most of it is loading torch.
START_TIMEOUT = 120

LAION = [sys.executable, "-c", "from laion.cli import main; main()"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit after checking the page")
    parser.add_argument("--port", default="1234", help="port of the page")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--model", type=Path, help="folder of a trained laion tiny_clip model")
    options = parser.parse_args()
    folder: Path = options.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = options.model or folder / "tiny"
    if options.model is None:
        say("training a small CLIP model on shapes and colours, for about a minute")
        laion("tiny_clip", "--output_folder", model)
    weights = ["--model", model / "tiny.json", "--pretrained", model / "tiny.pt"]
    drawn = list(shape_images(SEED, EACH * len(COLOURS) * len(SHAPES)))
    download(drawn, folder / "shards")
    laion("score", "--input", folder / "shards", "--output_folder", folder / "scored", *weights)
    laion("index", "--input", folder / "scored", "--output_folder", folder / "index")
    return serve(folder, options.port, options.check)


def say(words: str) -> None:
    print(words, flush=True)


def laion(*arguments: object) -> None:
    """Run a stage by its command. Raises SystemExit when it fails."""
    words = [str(argument) for argument in arguments]
    say("\n$ laion " + " ".join(words))
    if subprocess.run([*LAION, *words], check=False).returncode:
        raise SystemExit(f"laion {words[0]} failed")


def download(drawn: Sequence[ShapeImage], shards: Path) -> None:
    """Serve the images on loopback under several host names, and download them with img2ds."""
    urls = shards.parent / "urls.csv"
    with urls.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("url", "caption", "license"))
        for number, image in enumerate(drawn):
            url = f"http://{HOSTS[number % len(HOSTS)]}/photo/{number}.jpeg"
            licence = "https://creativecommons.org/licenses/by/4.0/" if number % 3 == 0 else "?"
            writer.writerow((url, image.caption, licence))
    encode = make_encoder("jpg", 92)
    with BackgroundWeb([bytes(encode(image.pixels)) for image in drawn]) as address:
        command = [
            sys.executable, "-m", "img2ds",
            "--url_list", str(urls), "--caption_col", "caption",
            "--save_additional_columns", "license",
            "--output_folder", str(shards), "--output_format", "webdataset",
            "--resize_mode", "keep_ratio", "--number_sample_per_shard", "200",
            "--connect_to", f"::{address}", "--allow_private_addresses",
        ]  # fmt: skip
        say("\n$ img2ds " + " ".join(command[3:]))
        if subprocess.run(command, check=False).returncode:
            raise SystemExit("img2ds failed")


def serve(folder: Path, port: str, check_only: bool) -> int:
    """Start the page, check its results, and keep it running until Ctrl-C."""
    arguments = [
        "serve", "--index", str(folder / "index"), "--shards", str(folder / "shards"),
        "--port", port, "--rate_limit", "1000", "--title", "Shapes and colours",
        "--examples", "a red circle,a blue star,a green triangle,a yellow square",
    ]  # fmt: skip
    say("\n$ laion " + " ".join(arguments))
    server = subprocess.Popen([*LAION, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            return server.wait()
        address = next(word for word in line.split() if word.startswith("http://"))
        precision, median = check(address, folder / "urls.csv")
        say(f"precision@10 over {len(COLOURS) * len(SHAPES)} texts: {precision:.3f}")
        say(f"median search time: {median:.0f} ms")
        if precision < MIN_PRECISION:
            say(f"that is below {MIN_PRECISION}")
            return 1
        if check_only:
            return 0
        say(f"\nthe page is at {address} (Ctrl-C to stop)")
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def check(address: str, urls: Path) -> tuple[float, float]:
    """Precision@10 over "a COLOUR SHAPE" for all of them, and the median time in milliseconds.

    The URL identifies what an image shows; captions have many forms.
    """
    with urls.open(newline="") as file:
        shown = [row["url"] for row in csv.DictReader(file)]
    drawn = shape_images(SEED, len(shown))
    truth = {url: (image.colour, image.shape) for url, image in zip(shown, drawn, strict=True)}
    wait_for(address)
    shares, times = [], []
    for colour in COLOURS:
        for shape in SHAPES:
            query = urllib.parse.urlencode({"text": f"a {colour} {shape}", "k": 10})
            started = time.perf_counter()
            with urllib.request.urlopen(f"{address}/api/search?{query}") as answer:
                results = json.load(answer)["results"]
            times.append(1000 * (time.perf_counter() - started))
            shares.append(sum(truth[r["url"]] == (colour, shape) for r in results) / 10)
    return statistics.mean(shares), statistics.median(times)


def wait_for(address: str) -> None:
    """Wait until the server responds. Raises OSError after START_TIMEOUT."""
    urllib.request.urlopen(f"{address}/api/health", timeout=START_TIMEOUT).close()


if __name__ == "__main__":
    sys.exit(main())
