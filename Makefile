# Each sets up first.
# make demo      the first target at sample scale: a table and a picture in minutes
# make check     lint, and the tests that start no workflow: for every save
# make test      lint and all tests
# make lint      style, types, the workflow's rules, the documentation, the Dockerfile
# make coverage  all tests; prints the lines of the library that no test reaches
# make verify    all targets on VOC's scenes except P2AT's, and the boxes, at sample scale with three seeds; prints each
#                claim with its number and threshold
# make setup     create .venv: Python, the packages of envs/, maskmill itself

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
CORES ?= all
VERIFY_DIR ?= verify

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q
# Three processes for two cores, since tests of the workflow also wait for Snakemake's scheduler.
WHOLE := -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: demo check test coverage verify lint setup

demo: setup
	$(BIN)/snakemake results/mars_voc_miou.csv --cores $(CORES) --config 'mars={ablations: []}'
	@echo "Table:    results/mars_voc_miou.csv, and results/mars_voc_miou.html for a browser: labels and students, with and without MARS"
	@echo "Pictures: results/mars_voc_gallery.png (labels on their images), results/mars_voc_{classes,curves,training}.png"
	@echo "Labels:   work/sample/voc/mars/irn/pseudo_labels.h5; $(BIN)/maskmill show --help draws all stages of one image"

check: setup lint
	$(PYTEST) -n 2 --dist worksteal -m "not slow"

# The tests of a file share what they make.
test: setup lint
	$(PYTEST) $(WHOLE) --durations 20

coverage: setup
	$(PYTEST) $(WHOLE) --cov --cov-report term-missing:skip-covered

verify: setup
	$(BIN)/python tests/verify.py --folder $(VERIFY_DIR) --cores $(CORES)

# .pre-commit-config.yaml has the same commands.
lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/python tests/lint_workflow.py
	$(BIN)/mypy
	$(BIN)/mkdocs build --strict --quiet
	$(BIN)/hadolint Dockerfile

setup: $(VENV)/.complete

# Numba compiles the dense CRF's kernels here, so that the first job need not.
$(VENV)/.complete: $(VENV)/.packages pyproject.toml
	$(PIP) --no-build-isolation --no-deps -e .
	$(BIN)/python -c "from maskmill.refinement.dense_crf import compile_kernels; compile_kernels()"
	touch $@

$(VENV)/.packages: envs/requirements.txt envs/requirements-pydensecrf.txt envs/constraints.txt envs/find_python.sh envs/install_pydensecrf.sh
	python=$$(bash envs/find_python.sh $(PYTHON)) && "$$python" -m venv --clear $(VENV)
	$(PIP) -r envs/requirements.txt
	@bash envs/install_pydensecrf.sh $(BIN)/python
	touch $@
