# The workbook from a terminal. `make` alone lists the targets.
#
#   PROFILE      cpu (the default), gpu, smoke or study, for run-all
#   PYTHON       the Python 3.11-3.13 that .venv is made with
#   TORCH_INDEX  where torch comes from, such as https://download.pytorch.org/whl/cpu
#   PY           another interpreter that has everything, such as PY=python under conda

PROFILE ?= cpu
TORCH := torch==2.13.0
VENV := .venv
PY ?= $(VENV)/bin/python
UV ?= uv

STAMP := $(VENV)/.stamp
INPUTS := pyproject.toml requirements.lock
READY := $(if $(filter $(VENV)/bin/python,$(PY)),$(STAMP))

export TOKENIZERS_PARALLELISM := false

.DEFAULT_GOAL := help
.PHONY: help venv run-all test lab notebooks pretrain study bench data lint format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

venv: $(READY) ## Set up .venv once (PYTHON=..., TORCH_INDEX=...); remade when the lock changes

# The stamp holds the inputs themselves and is written last: an interrupted set-up starts
# again from nothing, and a file that was only touched costs nothing. A candidate is tried
# by running it, because a version manager's shim exists also for versions it lacks.
$(STAMP): $(INPUTS)
	@set -e; \
	if [ -e $@ ] && cat $(INPUTS) | cmp -s - $@; then touch $@; exit 0; fi; \
	for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	    if "$$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	        2>/dev/null; then found="$$candidate"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "The workbook needs Python 3.11, 3.12 or 3.13 with its venv module;" \
	        "$(or $(PYTHON),none) was found. Name one: make venv PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$("$$found" --version) ..."; \
	rm -rf $(VENV); \
	"$$found" -m venv $(VENV); \
	$(VENV)/bin/python -m pip install $(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)); \
	$(VENV)/bin/python -m pip install -r requirements.lock; \
	$(VENV)/bin/python -m pip install -e . --no-deps; \
	cat $(INPUTS) > $@.part; \
	mv $@.part $@

# The embedded profiles never ask the network; gpu fetches its models from the hub.
ifneq ($(filter smoke cpu,$(PROFILE)),)
run-all: export HF_HUB_OFFLINE := 1
endif
run-all: $(READY) ## Run every notebook that is not finished (PROFILE=cpu) into build/
	$(PY) -m lrkit.workbook run --profile $(PROFILE)

# Two workers at a time: one thread each, or they fight over the cores.
test: export HF_HUB_OFFLINE := 1
test: export OMP_NUM_THREADS := 1
test: $(READY) ## Lint, run the tests, run the workbook on smoke, compare tagged outputs
	$(PY) -m ruff check .
	$(PY) -m pytest tests -n 2 --dist loadscope
	$(PY) -m lrkit.workbook smoke

lab: $(READY) ## Open the workbook in JupyterLab
	$(PY) -m jupyterlab --notebook-dir=. notebooks/00_start_here.ipynb

notebooks: export HF_HUB_OFFLINE := 1
notebooks: $(READY) ## Run the workbook on cpu and write the clean outputs into notebooks/
	$(PY) -m lrkit.workbook run --profile cpu
	$(PY) -m lrkit.workbook store
	$(PY) -m lrkit.workbook budget
	$(PY) -m lrkit.workbook clean
	$(PY) -m lrkit.workbook check

pretrain: $(READY) ## Make the embedded base models again
	$(PY) -m lrkit.pretrain
	$(PY) -m lrkit.pretrain.think

study: $(READY) ## Record the long runs with several random seeds in results/ (resumable)
	$(PY) -m lrkit.study.answer_arms
	$(PY) -m lrkit.study.baselines
	$(PY) -m lrkit.study.latent_arms
	$(PY) -m lrkit.study.graph_arms
	$(PY) -m lrkit.study.short_chain_arms
	$(PY) -m lrkit.study.adaptive_arms
	$(PY) -m lrkit.study.fragility
	$(PY) -m lrkit.study.redundancy_arms
	$(PY) -m lrkit.study.lrt_arms
	$(PY) -m lrkit.study.latent_sft_arms
	$(PY) -m lrkit.study.lgr_arms
	$(PY) -m lrkit.study.vector_arms
	$(PY) -m lrkit.study.claims

bench: $(READY) ## Measure the speed of one token, of latents, and of stopping early
	$(PY) -m lrkit.study.bench
	$(PY) -m lrkit.study.bench.latent
	$(PY) -m lrkit.study.bench.adaptive

data: $(READY) ## Generate the gold standard again
	$(PY) -m lrkit.data.build

lint: $(READY) ## Check code and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(READY) ## Format the code and fix what ruff can fix
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# The CUDA packages stay out: torch's own build brings those it needs, a CPU build none.
lock: ## Remake requirements.lock from pyproject.toml (needs uv; UPGRADE=1 moves versions)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	cp requirements.lock requirements.lock.part
	$(UV) pip compile pyproject.toml --universal --python-version 3.11 --extra dev \
	    --no-annotate --no-header --quiet $(if $(UPGRADE),--upgrade) -o requirements.lock.part
	{ echo "# Remade by 'make lock' from pyproject.toml (with its extra dev) for Python 3.11-3.13."; \
	  echo "# torch comes first and apart (see 'make venv'); its CUDA packages are left out."; \
	  sed -E '/^(cuda|nvidia)-|^triton/d' requirements.lock.part; } > requirements.lock
	rm requirements.lock.part

clean: ## Remove what runs and tools leave (keeps .venv)
	rm -rf build dist .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
