# make demo    sets up, makes a synthetic cohort, compares three networks on it, and prints where the report is
# make test    sets up and runs every test and check
# make samples fetches the files that tests of real input and real weights need, hash-checked, into the cache
# make bench NAME=demo   runs benchmarks/demo.py with whatever it needs
# make peers   writes the golden numbers of Keras and runs the tests against other libraries, in environments of their own

PYTHON ?= python3.11
BIN := .venv/bin
PEERS := .venv-peers/bin
PEERS_TORCHVISION := .venv-peers-torchvision/bin
NETWORKS ?= vgg16,xception,mobilenetv2
export TRAMTRACK_SHARED ?= $(abspath ../shared)

.PHONY: demo test check samples bench peers clean
.DELETE_ON_ERROR:

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/test-tools: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

.venv-peers/installed: peers.txt
	$(PYTHON) -m venv .venv-peers
	$(PEERS)/python -m pip install --quiet --disable-pip-version-check --requirement peers.txt
	touch $@

.venv-peers-torchvision/installed: peers-torchvision.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-peers-torchvision
	grep -v '^torch==' constraints.txt > .venv-peers-torchvision/constraints.txt
	$(PEERS_TORCHVISION)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint .venv-peers-torchvision/constraints.txt --requirement peers-torchvision.txt --editable .
	touch $@

demo: .venv/installed
	$(BIN)/tramtrack phantom cohort demo/cohort --women 144 --seed 2024
	$(BIN)/tramtrack ingest demo/cohort/dicom --labels demo/cohort/labels.csv --findings demo/cohort/truth.csv \
	  --study demo/study --protocol demo
	$(BIN)/tramtrack run demo/study --protocol demo --networks $(NETWORKS)

test: check
	$(BIN)/python tests/debian_packages.py
	-$(BIN)/python tests/samples.py
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m "not peers" -n 2 --dist worksteal

check: .venv/test-tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

samples: .venv/installed
	$(BIN)/python tests/samples.py

# A benchmark that compares with Keras reads TRAMTRACK_PEERS_PYTHON, one with pytorch-grad-cam runs beside it; only then is
# that environment made.
BENCH_PEERS = $(shell grep -ls TRAMTRACK_PEERS_PYTHON benchmarks/$(NAME).py)
BENCH_TORCHVISION = $(shell grep -ls "import pytorch_grad_cam" benchmarks/$(NAME).py)
bench: .venv/test-tools $(if $(BENCH_PEERS),.venv-peers/installed) $(if $(BENCH_TORCHVISION),.venv-peers-torchvision/installed)
	TRAMTRACK_PEERS_PYTHON=$(abspath $(PEERS)/python) \
	  $(if $(BENCH_TORCHVISION),$(PEERS_TORCHVISION),$(BIN))/python benchmarks/$(NAME).py

peers: .venv/test-tools .venv-peers/installed .venv-peers-torchvision/installed
	$(BIN)/python tests/debian_packages.py peers
	-$(BIN)/python tests/samples.py
	$(PEERS)/python tests/contract/network/keras_reference.py golden tests/contract/network/golden
	TRAMTRACK_PEERS_PYTHON=$(abspath $(PEERS)/python) $(BIN)/python -m pytest -m peers
	$(PEERS_TORCHVISION)/python -m pytest -m peers tests/contract/network/test_timm.py tests/contract/explain tests/pipeline/test_challengers.py

clean:
	rm -rf demo .venv .venv-peers .venv-peers-torchvision
