"""Packaging. `pip install .` is the core; requirements.txt is the full set."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

ROOT = Path(__file__).parent
REPOSITORY = "https://github.com/img2ds/img2ds"
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "img2ds/__init__.py").read_text())[1]

CORE = [
    "trio>=0.27",
    "httptools>=0.6",  # llhttp: the parser of the hot path
    "idna>=3.7",  # host names as browsers spell them (UTS 46); before, a long one took minutes
    "certifi>=2023.7.22",  # authorities where the system has no store
    "simplejpeg>=1.8",  # encodes planes
    "isal>=1.5; platform_machine in 'x86_64 AMD64 aarch64 arm64'",  # unpacks PNGs twice as fast
    "opencv-python-headless>=4.8",
    "pillow>=11.3",  # decodes AVIF
    "numpy>=1.24",
    "ExifRead>=3.5",  # img2dataset's names of EXIF tags; 3.5 made its errors catchable
    "pyarrow>=17",  # adds to a file's metadata once its row groups are known
    # Readers of what the core writes are installed with it: shards are made for webdataset.
    "webdataset>=0.2.86",
    "orjson>=3.9",
    "fsspec>=2023.9",
    "fire>=0.5",  # reads lists as img2dataset's command line does
    "tqdm>=4.65",
    "cloudpickle>=3",  # filters and transforms of scripts and notebooks, in worker processes
    "pyyaml>=6",  # --config, and the file that says what `laion run` runs
]

# The paper's HTTP client declares anyio 3, which breaks on today's trio, and works with anyio 4:
# it is installed by `pip install --no-deps asks` beside these.
ASKS = ["anyio>=4", "h11>=0.14", "async_generator>=1.10"]

# What `laion extract` and `laion dedup` need; without the models of the later stages.
EXTRACT = [
    "xxhash>=3.1",  # the digest of a pair
    "ftfy>=6.1",  # texts as LAION-400M's workers mended them
    "pycld2>=0.42",  # CLD2, by which the workers and Common Crawl tell languages
    "deflate>=0.7; platform_machine in 'x86_64 AMD64 aarch64 arm64'",  # libdeflate: WAT members
]

# What `laion index`, `search` and `serve` need besides a CLIP model.
SEARCH = [
    "faiss-cpu>=1.11",  # the indices; 1.11 maps graphs and vectors into memory, not lists alone
    "starlette>=0.44",  # the API and the page; 0.44 bounds the parts of a form
    "uvicorn>=0.30",  # serves them
    "python-multipart>=0.0.18",  # uploaded pictures, which starlette reads with it
]

# What `laion run` needs besides its stages.
RUN = [
    "jinja2>=3.1",  # the report
]

# What `laion filter` needs.
FILTER = [
    "duckdb>=1.1",  # conditions in SQL
]

# What `laion dedup_images` needs.
IMAGES = [
    "threadpoolctl>=3.1",  # a thread of linear algebra a worker process
]

EXTRAS = {
    "extract": EXTRACT,
    "filter": FILTER,
    "images": IMAGES,
    "clip": ["open_clip_torch>=2.24"],
    "search": SEARCH,
    "laion": [
        "open_clip_torch>=2.24",
        "matplotlib>=3.7",  # the pictures of a release
        "mmh3>=4.1",  # LAION-5B's hash of a pair
        *EXTRACT,
        *SEARCH,
        *RUN,
        *FILTER,
        *IMAGES,
    ],
    "ray": ["ray>=2.9"],
    "spark": ["pyspark>=3.4"],
    "tfrecord": ["crc32c>=2.3"],  # the checksums of --output_format tfrecord
    "wandb": ["wandb>=0.31"],  # bounds how long the end waits; 0.19 wants a network when offline
    "s3": ["s3fs>=2023.9"],
    "gcs": ["gcsfs>=2023.9"],
    "azure": ["adlfs>=2023.9"],
    "hf": ["huggingface_hub>=0.20"],
    "http": ["aiohttp>=3.8", "requests>=2.28"],  # fsspec's, for lists on web servers
    "asks": ASKS,
}
EXTRAS["all"] = sorted({package for packages in EXTRAS.values() for package in packages})
# Not in `all`: open_clip imports it wherever it is installed, which takes seconds a process.
EXTRAS["transformers"] = ["transformers>=4.40"]  # tokenizers of SigLIP and others of open_clip
# `make docs`; ruff formats the signatures of the reference.
EXTRAS["docs"] = ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.29", "ruff>=0.6"]
EXTRAS["dev"] = [
    "pytest>=7.4",
    "pytest-xdist>=3.5",  # tests in several processes
    "hypothesis>=6.80",
    "setuptools>=64",  # builds the package of docs/plugins.md
    "cryptography>=42",  # certificates of the test servers
    "moto[s3,server]>=5",
    "gcp-storage-emulator>=2022.6.11",  # gs:// without Google
    "httpx>=0.27",  # starlette's test client
    "schemathesis>=4",  # requests that the API's document allows, and that it does not
    "playwright>=1.45",  # drives Debian's chromium over the search page
    "ruff>=0.6",
    "mypy>=1.8",
    "types-PyYAML",
    "fastwarc>=1.0",  # with simdjson cc2dataset's way of reading WAT files, for the benchmark
    "pysimdjson>=6",
    "rbloom>=1.5",  # a bloom filter in Rust, for the benchmark
    "matplotlib>=3.7",  # the pictures of the benchmarks
    "tfrecord>=1.14",  # reads with protobuf what the writer has written without
    "polars>=1",  # its data frames are lists of URLs, too
    "datasets>=2.14",  # a release has to open with it; 2.14 reads a card's list of parts
]

# All are optional: without them Python libraries do the same, slower; `loaded()` of each package
# tells which are there. -ffp-contract=off keeps the order of floating-point sums, so that results
# are the same on every machine. -fno-wrapv, against the -fwrapv of some Pythons, lets compilers
# infer that a product of 16 bits fits.
COMPILED = [
    Extension(
        f"img2ds.image.native.{name}",
        [f"img2ds/image/native/{name}.c"],
        depends=["img2ds/image/native/_taps.h", "img2ds/image/native/_tile.h"],
        extra_compile_args=["-O3", "-ffp-contract=off", "-fno-wrapv"],
        optional=True,
    )
    for name in ("_resample", "_planes", "_png")
]
if platform.machine() in ("x86_64", "AMD64"):  # uses its vector instructions
    COMPILED.append(
        Extension(
            "img2ds.image.native._jpeg",
            ["img2ds/image/native/_jpeg.c"],
            depends=[
                str(path.relative_to(ROOT)) for path in ROOT.glob("img2ds/image/native/_jpeg_*.h")
            ],
            extra_compile_args=["-O3", "-fno-wrapv"],
            optional=True,
        )
    )
COMPILED += [
    Extension(
        f"laion.wat.native.{name}",
        [f"laion/wat/native/{name}.c"],
        depends=["laion/wat/native/_json.h", "laion/wat/native/_urls.h"],
        extra_compile_args=["-O3"],
        optional=True,
    )
    for name in ("_scan", "_members", "_join", "_sift", "_english")
]
COMPILED.append(
    Extension(
        "laion.dedup.native._pairs",
        ["laion/dedup/native/_pairs.c"],
        extra_compile_args=["-O3"],
        optional=True,
    )
)

setup(
    name="img2ds",
    version=VERSION,
    description="Turn a list of image URLs into a training dataset, fast and without losing a row",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    ext_modules=COMPILED,
    packages=find_packages(include=["img2ds", "img2ds.*", "laion", "laion.*"]),
    package_data={
        "img2ds": ["py.typed", "image/native/*.c", "image/native/*.h"],
        "laion": [
            "py.typed",
            "dedup/native/*.c",
            "report/*.html",
            "run/*.html",
            "tag/*.json",
            "wat/*.npz",
            "wat/native/*.c",
            "wat/native/*.h",
            "web/static/*",
        ],
    },
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["img2ds = img2ds.cli:main", "laion = laion.cli:main"],
    },
    author="the img2ds authors",
    url=REPOSITORY,
    project_urls={
        "Documentation": f"{REPOSITORY}/tree/main/docs",
        "Changelog": f"{REPOSITORY}/blob/main/CHANGELOG.md",
        "Issues": f"{REPOSITORY}/issues",
    },
    keywords="dataset, images, webdataset, img2dataset, laion, clip, common crawl, trio",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Framework :: Trio",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: C",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: Internet :: WWW/HTTP",
        "Topic :: Multimedia :: Graphics",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
