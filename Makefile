# make demo    set up, then the first target at sample scale: a table and a picture in minutes
# make test    set up, then lint and tests
# make verify  all targets on VOC's scenes but P2AT's, and the boxes, at sample scale with three seeds, and each claim with
#              its figure and threshold

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
VERIFY_DIR ?= verify

.PHONY: demo test verify lint setup

demo: setup
	$(BIN)/snakemake results/mars_voc_miou.csv --cores $(CORES)

test: setup lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --durations 20

verify: setup
	$(BIN)/python tests/verify.py --folder $(VERIFY_DIR) --cores $(CORES)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint --config scale=sample

setup: $(VENV)/.complete

# The compiler is for pydensecrf2, which has no wheels.
$(VENV)/.complete: envs/requirements.txt envs/constraints.txt pyproject.toml envs/find_python.sh
	@command -v cc gcc clang >/dev/null || { echo "error: no C/C++ compiler (pydensecrf2 needs one); install gcc and g++, e.g. apt-get install g++" >&2; exit 1; }
	python=$$(bash envs/find_python.sh $(PYTHON)) && "$$python" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	$(BIN)/python -c "from maskmill.refinement.dense_crf import compile_kernels; compile_kernels()"
	touch $@
