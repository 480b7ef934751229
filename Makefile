# Every target starts from a fresh clone: the virtual environment is made on demand.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
N      ?= 300
# What takes long and finds little that the rest does not: whole programs, probed everywhere.
LONG := tests/bench tests/image/test_fuzz.py tests/kprobes/test_generated.py tests/kprobes/test_transparency.py
PARALLEL := --numprocesses auto --dist worksteal
READY  := $(VENV)/.ready

# Every line that the archive carries, both architectures: hours at first, minutes later.
POINTS ?= 2000
KERNELS ?=

.PHONY: agreement guest-tests help demo test test-quick test-images lint samples bench bench-boot performance kernels sweep clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("kprobesim needs Python 3.10 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY)  ## show the life of one probe on the sample images of both architectures
	$(BIN)/kprobesim demo

test: $(READY)  ## run the whole test suite (with real kernels where the archive can be reached)
	@echo "The whole suite takes 6 minutes on two idle cores, and fetches two kernels of 25 MB first."
	@$(BIN)/python scripts/fetch_kernels.py --missing >/dev/null || echo "going on without"
	$(BIN)/python -m pytest $(PARALLEL)

test-quick: $(READY)  ## run what needs no real kernel and no compiler, in 90 seconds
	@echo "Without real kernels, compiler, benchmarks and what takes longest; takes 90 seconds on two idle cores."
	$(BIN)/python -m pytest $(PARALLEL) -m "not real_kernel and not compiler" -q $(LONG:%=--ignore %)

test-images: $(READY)  ## look into all kernels that lie in .cache, each with what is known of it from elsewhere
	KPROBESIM_KERNELS=.cache $(BIN)/python -m pytest $(PARALLEL) tests/image/test_real_kernels.py

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

samples: $(READY)  ## rebuild the sample guests and inits from their sources
	$(BIN)/python samples/build.py

kernels: $(READY)  ## fetch Debian's newest cloud kernels and BusyBox of both architectures into .cache/
	$(BIN)/python scripts/fetch_kernels.py

bench: $(READY)  ## measure what a probe costs
	$(BIN)/kprobesim bench

performance: $(READY)  ## measure all that, and write docs/performance.md from it (15 minutes on an idle machine)
	$(BIN)/python scripts/fetch_kernels.py --missing
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/kprobesim bench --json docs/performance.json --plot docs/performance.svg --markdown docs/performance.md

bench-boot: $(READY)  ## measure a boot to user space, beside QEMU's where it is installed
	$(BIN)/python scripts/fetch_kernels.py --missing
	$(BIN)/python benchmarks/boot.py .cache/kernels/amd64.deb .cache/kernels/arm64.deb

sweep: $(READY)  ## compare N (300) random functions of real kernels with and without probes
	$(BIN)/python scripts/fetch_kernels.py --missing
	$(BIN)/python benchmarks/sweep.py --functions $(N) .cache/kernels/amd64.deb .cache/kernels/arm64.deb

agreement: $(READY)  ## compare check with the answers of every kernel line's own kprobes (KERNELS=6.1,7.3 POINTS=2000)
	$(BIN)/python scripts/agreement.py --points $(POINTS) --kernels "$(KERNELS)"

guest-tests: $(READY)  ## let guests test themselves: bpftrace, the verifier, ftrace's tests, 1,256 instructions (10 minutes)
	$(BIN)/python scripts/fetch_kernels.py --missing
	$(BIN)/python scripts/compare_instructions.py --states 300
	for arch in amd64 arm64; do \
	  $(BIN)/python scripts/guest_ftrace_tests.py .cache/kernels/$$arch.deb .cache/kernels/busybox-$$arch && \
	  $(BIN)/python scripts/bpftrace_in_guest.py .cache/kernels/$$arch.deb && \
	  $(BIN)/python scripts/bpf_objects_in_guest.py .cache/kernels/$$arch.deb || exit 1; done

clean:  ## remove what the targets made (not the fetched kernels)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
