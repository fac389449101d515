# What there is to do with a checkout.  `make help` lists it.
#
# The virtual environment lies in .venv; files in .venv/stamps say what was done to it, so that nothing is done twice.
# The package is installed editable, without its extensions; those are built in place, and rebuilt when a .pyx, .pxd or .h changes.

PYTHON ?= python3
VENV ?= .venv
# Worker processes of the test suite, and compilers at work at once.
JOBS ?= 2
PYTEST_ARGS ?=
# Of `make fuzz`: time for each target, and which (captures frames topology; all by default).
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=

STAMPS := $(VENV)/stamps
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check -q
SYSTEM_PACKAGES := apt-get install -y python3-venv python3-dev gcc make
CODE := $(wildcard vsw tests bench scripts setup.py docs/conf.py docs/_ext examples)

COMPILED := $(shell find vsw -name '*.pyx' -o -name '*.pxd' -o -name '*.h' | grep -v ' ')

# Compiled modules, whose stubs are held against what they are.
STUBS := $(subst /,.,$(patsubst %.pyi,%,$(shell find vsw -name '*.pyi')))

EXAMPLE := examples/two-vlans.toml examples/two-vlans.pcapng

.PHONY: help demo test lint build differential differential-ovs bonding e2e guest disk-conformance disk-crash e2e-disks fuzz-vhost mutants sanitize bench fresh record clean
.DELETE_ON_ERROR:

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 24

demo: $(STAMPS)/built ## Replay the example capture through the example topology
	$(RUN) -m vsw check examples/two-vlans.toml
	$(RUN) -m vsw replay $(EXAMPLE)

test: $(STAMPS)/built $(STAMPS)/test ## Run the quick suite (minutes)
	$(RUN) -m pytest -n $(JOBS) --dist worksteal --benchmark-disable $(PYTEST_ARGS)

lint: $(STAMPS)/built $(STAMPS)/test ## ruff, cython-lint, mypy --strict
	$(RUN) -m ruff check $(CODE)
	PATH="$$(cd $(VENV)/bin && pwd):$$PATH" cython-lint vsw
	$(RUN) -m mypy

stubs: $(STAMPS)/built $(STAMPS)/test ## Hold the stubs of compiled modules against what they are
	$(RUN) -m mypy.stubtest --mypy-config-file pyproject.toml --ignore-missing-stub --ignore-disjoint-bases --allowlist scripts/stubtest.txt $(STUBS)

build: $(STAMPS)/built ## Set up the virtual environment and build the extensions

differential: $(STAMPS)/built $(STAMPS)/test ## Compare the datapath with the reference, 1,000 topologies of each dialect
	$(RUN) scripts/differential.py

differential-ovs: $(STAMPS)/built $(STAMPS)/test ## Compare with Open vSwitch, 50,000 frames an implementation
	$(RUN) -m pytest -m long -s --benchmark-disable $(PYTEST_ARGS) tests/differential/ovs

bonding: $(STAMPS)/built $(STAMPS)/test ## Compare team hashes with a Linux bond in a guest (needs qemu-system-x86, busybox-static)
	$(RUN) -m pytest -m 'long and e2e' --benchmark-disable $(PYTEST_ARGS) tests/e2e/test_bonding.py

e2e: $(STAMPS)/built $(STAMPS)/test ## Run real guests on running switches (root; needs qemu-system-x86, busybox-static, iproute2; some 10 minutes)
	$(RUN) -m pytest -m 'long and e2e' --benchmark-disable --durations=10 $(PYTEST_ARGS) tests/e2e

guest: $(STAMPS)/built ## Build a small Linux to try topologies with, into build/guest (needs busybox-static)
	$(RUN) scripts/make_guest.py

disk-conformance: $(STAMPS)/built $(STAMPS)/test ## Run libiscsi's conformance suite on our disks (needs libiscsi-bin)
	$(RUN) -m pytest -m long -s --benchmark-disable $(PYTEST_ARGS) tests/disk/test_iscsi_conformance.py

disk-crash: $(STAMPS)/built $(STAMPS)/test ## Explore what crashes leave of raw and qcow2 images, thousands of states (uses qemu-utils)
	$(RUN) -m pytest -m long -s -n $(JOBS) --benchmark-disable $(PYTEST_ARGS) tests/disk/test_crash.py tests/disk/test_killed.py \
	    tests/disk/test_serve_killed.py tests/disk/test_qcow2_random.py tests/disk/test_qcow2_qemu.py tests/disk/test_qcow2_hostile.py

e2e-disks: $(STAMPS)/built $(STAMPS)/test ## Guests that live on our disks, over NBD, iSCSI and vhost-user, and boot (needs qemu-system-x86, busybox-static, extlinux)
	$(RUN) -m pytest -m 'long and e2e' --benchmark-disable $(PYTEST_ARGS) tests/e2e/test_disks.py tests/e2e/test_vhost_user.py

fuzz-vhost: $(STAMPS)/built $(STAMPS)/test ## Attack vhost-user ports and disks as a hostile guest would, for VSW_FUZZ_SECONDS (300)
	$(RUN) -m pytest -m long -s --benchmark-disable $(PYTEST_ARGS) tests/virtio/test_hostile.py

mutants: $(STAMPS)/built $(STAMPS)/test ## Show that the suite catches seeded mistakes in the datapath
	$(RUN) scripts/mutants.py

sanitize: $(STAMPS)/built $(STAMPS)/test ## Run the suite under AddressSanitizer and UBSan, built into build/sanitize
	JOBS=$(JOBS) scripts/sanitize.sh $(RUN) $(PYTEST_ARGS)

.PHONY: stubs notebook hostile fuzz docs coverage wheel changelog
hostile: $(STAMPS)/built $(STAMPS)/test ## Damaged captures through every command: cut at each byte, bytes turned over
	$(RUN) -m pytest -m long -n $(JOBS) --dist worksteal --benchmark-disable $(PYTEST_ARGS) tests/hostile

fuzz: $(STAMPS)/built $(STAMPS)/fuzz ## Fuzz readers, parsers and topologies, FUZZ_SECONDS each (needs clang; FUZZ_KEEP=1 keeps the corpus)
	JOBS=$(JOBS) scripts/fuzz.sh $(RUN) $(FUZZ_SECONDS) $(FUZZ_TARGETS)

notebook: $(STAMPS)/built $(STAMPS)/notebook ## Run the example notebook, and compare with what it shows
	$(RUN) -m pytest --benchmark-disable $(PYTEST_ARGS) tests/embed/test_notebook.py

coverage: $(STAMPS)/built $(STAMPS)/coverage ## What the suite reaches: lines of .py and .pyx files, lines and branches of the C headers (slow)
	JOBS=$(JOBS) scripts/coverage.sh $(RUN) $(PYTEST_ARGS)

wheel: $(STAMPS)/built $(STAMPS)/release ## Build the wheel into dist/, and run it in a bare Debian root (root, debootstrap)
	scripts/wheel.sh $(RUN)

changelog: $(STAMPS)/release ## Turn the fragments in changelog.d/ into a section of CHANGELOG.md
	$(RUN) -m towncrier build --yes --version "$$($(RUN) -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')"

docs: $(STAMPS)/built $(STAMPS)/docs ## Build the documentation into build/docs; a warning is an error
	$(RUN) -m sphinx -W --keep-going -q -b html docs build/docs
	@echo build/docs/index.html

bench: $(STAMPS)/built $(STAMPS)/bench ## Measure (quiet machine; see docs/benchmarks.md)
	$(RUN) -m pytest bench --benchmark-only --benchmark-columns=min,median,max
	$(RUN) bench/compare.py

fresh: ## Prove the README in a bare Debian root (needs root and debootstrap)
	scripts/fresh.sh

record: $(STAMPS)/built ## Record the example capture again (needs root, and: iproute2 iputils-ping dnsmasq-base busybox)
	$(RUN) scripts/record_example.py examples/two-vlans.pcapng

clean: ## Remove all that was built, and the virtual environment
	rm -rf "$(VENV)" build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .benchmarks
	find vsw \( -name '*.so' -o -name '*.c' -o -name '__pycache__' \) -prune -exec rm -rf {} +
	find tests bench scripts -name '__pycache__' -prune -exec rm -rf {} +

# The first command that a reader runs on a new machine: say what is missing in a line that can be pasted.
$(STAMPS)/venv:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	    && test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
	    && command -v gcc >/dev/null \
	    || { echo '$(SYSTEM_PACKAGES)'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "vsw needs Python 3.11 or later, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS)
	@touch $@

$(STAMPS)/package: $(STAMPS)/venv pyproject.toml
	$(RUN) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' > $(STAMPS)/requires.txt
	$(PIP) install -r $(STAMPS)/requires.txt
	VSW_SKIP_BUILD=1 $(PIP) install --no-build-isolation -e .
	@touch $@

$(STAMPS)/test: $(STAMPS)/package
	VSW_SKIP_BUILD=1 $(PIP) install --no-build-isolation -e '.[test,lint]'
	@touch $@

$(STAMPS)/docs: $(STAMPS)/package
	VSW_SKIP_BUILD=1 $(PIP) install --no-build-isolation -e '.[docs]'
	@touch $@

$(STAMPS)/notebook: $(STAMPS)/test
	VSW_SKIP_BUILD=1 $(PIP) install --no-build-isolation -e '.[test,notebook]'
	@touch $@

$(STAMPS)/coverage: $(STAMPS)/test
	VSW_SKIP_BUILD=1 $(PIP) install --no-build-isolation -e '.[test,coverage]'
	@touch $@

$(STAMPS)/release: $(STAMPS)/package
	VSW_SKIP_BUILD=1 $(PIP) install --no-build-isolation -e '.[release]'
	@touch $@

$(STAMPS)/fuzz: $(STAMPS)/package
	VSW_SKIP_BUILD=1 $(PIP) install --no-build-isolation -e '.[test,fuzz]'
	@touch $@

$(STAMPS)/bench: $(STAMPS)/package
	VSW_SKIP_BUILD=1 $(PIP) install --no-build-isolation -e '.[test,bench]'
	@touch $@

$(STAMPS)/built: $(STAMPS)/package setup.py $(COMPILED)
	VSW_JOBS=$(JOBS) $(RUN) setup.py -q build_ext --inplace -j $(JOBS)
	@touch $@
