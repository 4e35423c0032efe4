# The two commands of the README are `make serve` and `make test`; the others are for those who work on it.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
BIN := .venv/bin
UV := .venv/lock/bin/uv

.PHONY: serve test test-all lint format web web-check demo image-test contract-test minimum-versions audit bench bench-peers clean report \
	docs results-3v5 results-3v5-certified results-10 results-10-certified results-fashion results-compared

serve: .venv/serve.stamp ## Serve the shipped model on HOST:PORT
	@exec $(BIN)/whitebox serve --host $(HOST) --port $(PORT)

# Python keeps what it compiles, whatever the environment says: these start a hundred processes.
test test-all torture bench bench-peers: export PYTHONDONTWRITEBYTECODE :=
# A process of tests a core: torch's threads in each would wait for one another. Servers have theirs (running.py).
test test-all: export OMP_NUM_THREADS ?= 1
test-all: HYPOTHESIS_PROFILE ?= thorough
test: .venv/dev.stamp ## Run the tests but those marked slow; those marked full_data need WHITEBOX_DATA_DIR
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not slow"

test-all: .venv/dev.stamp ## Run all tests, properties with fifteen times as many examples
	HYPOTHESIS_PROFILE=$(HYPOTHESIS_PROFILE) $(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: .venv/dev.stamp ## Style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

web: web/node_modules/.package-lock.json ## Build the page from web/ into service/web/files; needs Node.js 20
	cd web && npm run --silent build

web-check: web/node_modules/.package-lock.json ## Whether the committed page is what web/ builds
	cd web && npm run --silent check && node build.mjs ../build/web
	diff --recursive build/web service/web/files

demo: web/node_modules/.package-lock.json ## The page without a server into build/demo, for any static host; needs Node.js 20
	cd web && npm run --silent demo
	@echo "build/demo is ready: python3 -m http.server --directory build/demo"

web/node_modules/.package-lock.json: web/package-lock.json
	cd web && npm ci
	@touch $@

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/dev.stamp ## The documentation site into build/site; a broken link fails
	$(BIN)/python -m documentation

image-test: ## Build the image, start it, run the README's calls against the container
	deploy/image-test

contract-test: .venv/dev.stamp ## 20,000 generated requests against the running service (schemathesis, all phases)
	deploy/contract-test

minimum-versions: $(UV) ## The oldest versions that pyproject.toml allows are installed, started and asked
	deploy/minimum-versions $(UV)

torture: .venv/dev.stamp ## One hostile client after another beside honest ones; needs slowhttptest and nginx
	$(BIN)/python -m benchmarks.torture

audit: .venv/dev.stamp ## Known weaknesses of what we depend on, and suspicious code of our own
	$(BIN)/bandit --quiet --severity-level medium --recursive evaluation model service training whitebox
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' > .venv/audited.txt
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement .venv/audited.txt --progress-spinner off

bench: .venv/dev.stamp ## Benchmarks, one after the other, on an otherwise idle machine; needs wrk
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.inference
	$(BIN)/python -m benchmarks.batching
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.interference
	$(BIN)/python -m benchmarks.invalid_bodies
	$(BIN)/python -m benchmarks.certify
	$(BIN)/python -m benchmarks.certificates

bench-peers: .venv/dev.stamp ## The same beside KServe, MLServer, LitServe and BentoML; installs them on first use
	$(BIN)/python -m benchmarks.peers setup
	$(BIN)/python -m benchmarks.peers run
	$(BIN)/python -m benchmarks.peers bursts
	$(BIN)/python -m benchmarks.peers overload
	$(BIN)/python -m benchmarks.peers tensors
	$(BIN)/python -m benchmarks.peers soak

# Each trains and measures on the whole test set; killed, it goes on where it was. Cards go to docs/results/cards.
results-3v5: .venv/dev.stamp ## Five seeds of the paper's recipe, then everything on the shipped model
	$(call SEEDS,paper,mnist-3v5-seed,0 1 2 3 4)
	$(call CARD,artifacts/mnist-3v5/6,mnist-3v5)
	$(call EXACT,artifacts/mnist-3v5/6,mnist-3v5,4,--epsilon 0.3)

results-3v5-certified: .venv/dev.stamp ## The same of the certified recipe
	$(call SEEDS,certified,mnist-3v5-certified-seed,0 1 2 3 4)
	$(call PROVED,certified,mnist-3v5-certified-seed,0 1 2 3 4)
	$(call CARD,artifacts/mnist-3v5-certified/7,mnist-3v5-certified,--trust-certificates)
	$(call EXACT,artifacts/mnist-3v5-certified/7,mnist-3v5-certified,20,--epsilon 0.3)

results-10: .venv/dev.stamp ## Ten digits, the paper's recipe
	$(call SEEDS,paper-10,mnist-10-seed,0 1 2 3 4)
	$(call CARD,artifacts/mnist-10/5,mnist-10,--quick)

results-10-certified: .venv/dev.stamp ## Ten digits, the certified recipe
	$(call SEEDS,certified-10,mnist-10-certified-seed,0 1 2 3 4)
	$(call PROVED,certified-10,mnist-10-certified-seed,0 1 2 3 4)
	$(call CARD,artifacts/mnist-10-certified/9,mnist-10-certified,--trust-certificates)
	$(call EXACT,artifacts/mnist-10-certified/9,mnist-10-certified,61,--epsilon 0.1 --epsilon 0.2 --epsilon 0.3)

FASHION ?= /usr/share/datasets/fashion-mnist
results-fashion: .venv/dev.stamp ## Both models of Fashion-MNIST, whose files are in FASHION
	$(call CARD,artifacts/fashion-mnist/4,fashion-mnist,--attack pgd-40 --attack apgd-ce,--data $(FASHION))
	$(call CARD,artifacts/fashion-mnist-certified/4,fashion-mnist-certified,\
		--attack pgd-40 --attack apgd-ce --attack apgd-t --trust-certificates,--data $(FASHION))

results-compared: .venv/dev.stamp ## Baselines and ablations
	for recipe in logistic cnn cnn-thresholded cnn-adversarial \
			paper-without-two-step paper-without-convolution paper-without-poses paper-without-noise; do \
		$(BIN)/whitebox train --recipe $$recipe --seed 0 && \
		$(BIN)/whitebox evaluate runs/$$recipe-0 --out $(CARDS)/$$recipe.json && \
		$(BIN)/whitebox evaluate runs/$$recipe-0 --corruptions --other-norms --out $(CARDS)/$$recipe.json && \
		cp runs/$$recipe-0/metrics.jsonl $(CARDS)/$$recipe.metrics.jsonl || exit 1; \
	done

report: .venv/dev.stamp ## docs/RESULTS.md and its pictures from the cards
	$(BIN)/whitebox report

CARDS := docs/results/cards
# $(call SEEDS,recipe,name of the cards,seeds): trained, measured under PGD, epochs kept.
define SEEDS
for seed in $(3); do \
	$(BIN)/whitebox train --recipe $(1) --seed $$seed && \
	$(BIN)/whitebox evaluate runs/$(1)-$$seed --attack pgd-40 --out $(CARDS)/$(2)-$$seed.json && \
	cp runs/$(1)-$$seed/metrics.jsonl $(CARDS)/$(2)-$$seed.metrics.jsonl || exit 1; \
done
endef
# $(call PROVED,recipe,name of the cards,seeds): what intervals prove.
define PROVED
for seed in $(3); do \
	$(BIN)/whitebox certify runs/$(1)-$$seed --epsilon 0.1 --epsilon 0.2 --epsilon 0.3 \
		--out $(CARDS)/$(2)-$$seed.json || exit 1; \
done
endef
# $(call CARD,package,name of the card,options,data): what is measured of a shipped model.
define CARD
$(BIN)/whitebox evaluate $(1) --out $(CARDS)/$(2).json $(3) $(4)
$(BIN)/whitebox evaluate $(1) --corruptions --other-norms --out $(CARDS)/$(2).json $(4)
$(BIN)/whitebox inside $(1) --out $(CARDS)/$(2).inside.json $(4)
endef
# $(call EXACT,package,name of the card,seconds a digit,radii): what intervals do not decide.
define EXACT
$(BIN)/whitebox certify $(1) $(4) --exact $(3) --verdicts $(CARDS)/$(2).verdicts.jsonl --out $(CARDS)/$(2).json
endef

clean:
	rm -rf .venv .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

# dev holds all that serve needs, so a tree that can be tested can be served without another installation.
.venv/serve.stamp: pyproject.toml requirements/serve-full.txt
	@test .venv/dev.stamp -nt pyproject.toml -a .venv/dev.stamp -nt requirements/serve-full.txt \
		|| $(MAKE) --no-print-directory install LOCK=serve-full
	@touch $@

.venv/dev.stamp: pyproject.toml requirements/dev.txt
	@$(MAKE) --no-print-directory install LOCK=dev
	@touch $@

# On other systems PyPI's torch is the CPU build anyway, and where pip is told where to look, it knows better.
TORCH_INDEX = test $$(uname) != Linux || $(BIN)/pip config list | grep -qE 'index|find-links' \
	|| echo --index-url https://download.pytorch.org/whl/cpu
# Python compiles what it imports; to compile all of torch and scipy here takes longer than to install them.
PIP = $(BIN)/pip --disable-pip-version-check install --no-deps --no-compile

.PHONY: install lock
install:
	@test -x $(BIN)/python || { echo "Making .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv .venv; }
	@echo "1/3 Installing the packages of requirements/$(LOCK).txt, a minute or two the first time"
	@$(PIP) --quiet --require-hashes --requirement requirements/$(LOCK).txt
	@echo "2/3 Installing torch's CPU build, about 200 MB; it attacks and certifies"
	@$(PIP) $$($(TORCH_INDEX)) --requirement requirements/torch.txt
	@echo "3/3 Installing whitebox"
	@$(PIP) --quiet --editable .

# All but requirements/torch.txt (docs/decisions/0013); what is served is what is tested.
COMPILE = $(UV) pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-package torch --excludes requirements/cuda.txt --custom-compile-command "make lock"

$(UV):
	$(PYTHON) -m venv .venv/lock && .venv/lock/bin/pip install --quiet uv==0.13.9

lock: $(UV) ## Refresh the locked versions in requirements/
	$(COMPILE) --extra dev --output-file requirements/dev.txt
	$(COMPILE) --constraint requirements/dev.txt --extra otel --output-file requirements/serve.txt
	$(COMPILE) --constraint requirements/dev.txt --extra otel --extra attack --output-file requirements/serve-full.txt
	$(COMPILE) --constraint requirements/dev.txt --extra train --output-file requirements/train.txt
