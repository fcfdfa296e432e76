# make demo   set up the core (0.5 GB), then img2ds over a sample web on this machine
# make serve  serves the sample web of make demo on port 8000, to try other commands on it
# make demo-search  set up the core and laion, then a search page over a sample web, with a model
#             trained on the spot
# make demo-laion  set up the core and laion, then its pipeline over WAT files and a web made here
# make test   set up everything (7.5 GB), then every test, in two processes (JOBS=4 for four)
# make quick  lint, types, and the tests that need no server, cluster, browser or training
# make fuzz   libFuzzer over the compiled extensions for a minute
# make sanitize  the tests of the compiled extensions under AddressSanitizer and UBSan
# make attack  hostile images, responses, clients, kills and damage, and what each costs: ten minutes
# make compat  the tests of other programs that read what img2ds and laion write, in an environment of their own
# make lint   ruff and mypy --strict
# make docs   the documents and the reference of the Python API as a site, in build/site
# make bench  the short benchmarks (see benchmark/README.md)

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --disable-pip-version-check
# What is installed, from the least to all; each contains those before it.
CORE := $(VENV)/.core
LAION := $(VENV)/.laion
STAMP := $(VENV)/.ready
DOCS := $(VENV)/.docs
PACKAGING := setup.py requirements.txt $(wildcard img2ds/image/native/*.[ch] laion/*/native/*.[ch])
JOBS ?= 2
PYTEST := $(RUN) -m pytest -n $(JOBS) --dist loadgroup

.PHONY: setup demo serve demo-search demo-laion test quick native-off fuzz compat sanitize attack lint docs bench clean

setup: $(STAMP)

# pip prints what it does: on a slow network nothing else would move for minutes.
$(CORE): $(PACKAGING)
	@echo "installing the core of img2ds into $(VENV) (0.5 GB)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) -e .
	@touch $@

$(LAION): $(CORE)
	@echo "installing what laion needs into $(VENV) (6 GB, most of it PyTorch)"
	$(PIP) -e '.[laion]'
	@touch $@

$(STAMP): $(CORE)
	@echo "installing every extra and the tools of the tests into $(VENV) (7.5 GB, most of it PyTorch)"
	$(PIP) -r requirements.txt -e '.[dev]'
	$(PIP) --no-deps asks
	@touch $(LAION) $@

$(DOCS): $(CORE)
	@echo "installing mkdocs into $(VENV) (0.1 GB)"
	$(PIP) -e '.[docs]'
	@touch $@

demo: $(CORE)
	$(RUN) -m tests.demo

serve: $(CORE)
	$(RUN) -m tests.demo_server

demo-search: $(LAION)
	$(RUN) -m tests.demo_search

demo-laion: $(LAION)
	$(RUN) -m tests.laion.demo

test: setup
	# The page is tested in a browser; where it cannot be installed those tests are skipped.
	-scripts/apt-packages.sh chromium
	$(PYTEST) tests
	$(MAKE) native-off

# The tests of what is compiled once more, without the compiled extensions.
native-off: setup
	IMG2DS_NATIVE=0 $(PYTEST) tests/image tests/laion/wat tests/laion/dedup

# Some of these programs need an old numpy; clip-retrieval's page needs a browser.
compat: setup
	-scripts/apt-packages.sh chromium
	scripts/compat-env.sh $(VENV)-compat
	$(RUN) -m benchmark.peer
	$(VENV)-compat/bin/python -m pytest -rs tests/readers tests/formats/test_readers.py tests/compat/test_signature.py

fuzz: setup
	# Debian's clang comes without the runtime of libFuzzer.
	echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' \
	  | clang -fsanitize=fuzzer,address -x c -o /dev/null - 2>/dev/null \
	  || scripts/apt-packages.sh clang libclang-rt-dev
	$(RUN) -m fuzz --seconds 60

sanitize: setup
	scripts/sanitize.sh $(RUN) -n $(JOBS) tests/image tests/laion/wat tests/laion/dedup

# Fails if something costs more than it may. Some kinds: `.venv/bin/python -m tests.attack png`.
attack: setup
	$(RUN) -m tests.attack

quick: lint
	$(PYTEST) tests --quick

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Fails on any warning, such as a broken link. Needs no network.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

bench: setup
	scripts/apt-packages.sh nginx-light dnsmasq-base iproute2
	$(RUN) -m benchmark.peer
	$(RUN) -m benchmark.codec --every 5
	$(RUN) -m benchmark.fetch
	$(RUN) -m benchmark.write
	$(RUN) -m benchmark.startup --rows 10000000 --seconds 8
	$(RUN) -m benchmark.memory --rows 100000
	$(RUN) -m benchmark.scaling --short 1000 --long 5000 --rounds 2
	$(RUN) -m benchmark.paper
	$(RUN) -m benchmark.wat
	$(RUN) -m benchmark.dedup --pairs 1000000
	$(RUN) -m benchmark.end_to_end --rounds 1
	$(RUN) -m benchmark.figure

clean:
	rm -rf $(VENV) demo demo_search demo_laion build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
