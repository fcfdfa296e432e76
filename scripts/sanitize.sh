#!/bin/sh
# Build the extensions with AddressSanitizer and UBSan, and run tests under both. Needs gcc.
#
#   scripts/sanitize.sh PYTHON [TEST ...]
set -eu
python=$(realpath -s "$1")
shift
cd "$(dirname "$0")/.."
build=build/sanitize
rm -rf $build
export CC="${CC:-gcc}"
export CFLAGS="-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
"$python" setup.py -q build --build-lib $build --build-temp $build-objects --force
# Tests import what is beside them.
cp -r tests benchmark pyproject.toml $build
cd $build
# Python is not built with them, so it has to load them first; C++ exceptions are theirs, too.
preload="$($CC -print-file-name=libasan.so) $($CC -print-file-name=libubsan.so)"
preload="$preload $($CC -print-file-name=libstdc++.so)"
# Python and its libraries leave memory at their end.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:detect_odr_violation=0
export UBSAN_OPTIONS=print_stacktrace=1
export PYTHONPATH=
run() {
    LD_PRELOAD="$preload" "$python" "$@"
}
# An extension that was not built would go unnoticed.
run -c "
from img2ds.image import native as image
from laion.wat import native as wat
assert image.__file__.startswith('$PWD'), image.__file__
assert sorted(image.EXTENSIONS) == image.loaded() and sorted(wat.EXTENSIONS) == wat.loaded()"
# What is freed stays allocated for a while, so peaks are no measure.
peaks="bytes_a_pixel or costs_no_memory or peak_of_a_process"
run -m pytest -p no:cacheprovider -k "not ($peaks)" "$@"
