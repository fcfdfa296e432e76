#!/bin/sh
# Make an environment for tests/readers: programs that read what this repository writes, with the old
# versions that they need. Everything else comes from .venv, behind it.
#
#   scripts/compat-env.sh FOLDER
set -eu
cd "$(dirname "$0")/.."
folder=$1
[ -x "$folder/bin/python" ] || .venv/bin/python -m venv "$folder"
site=$("$folder/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
.venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$site/zz_venv.pth"
# autofaiss needs numpy 1, and that an older pyarrow than datasets of .venv asks for: pip says so, and
# what is tested here works with it.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    "numpy<2" "pyarrow<22" "opencv-python-headless<4.12" "pandas<3" autofaiss embedding-reader wids \
    "webdataset<=0.2.86" tensorflow-cpu flask flask_restful flask_cors h5py prometheus_client requests
# Of what mosaicml-streaming requires, what it imports.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "transformers<5" catalogue \
    "zstd<2" "python-snappy<1" "paramiko<4" oci brotli boto3 azure-storage-file-datalake \
    azure-identity google-cloud-storage
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    "mosaicml-streaming==0.13.0"
# PyTorch and the rest of its requirements are those of .venv.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    litdata lightning-utilities tifffile obstore
# Its own requirements are of years ago, and bring models that no test loads.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "clip-retrieval==2.45.0"
