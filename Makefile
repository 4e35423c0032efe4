# The two commands of the README are `make serve` and `make test`; the others are for those who work on it.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
BIN := .venv/bin

.PHONY: serve test lint format image-test bench results clean

serve: .venv/serve.stamp ## Serve the shipped model on HOST:PORT
	@exec $(BIN)/whitebox serve --host $(HOST) --port $(PORT)

test: .venv/dev.stamp ## Run the tests; those marked full_data need WHITEBOX_DATA_DIR
	$(BIN)/python -m pytest

lint: .venv/dev.stamp ## Style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

image-test: ## Build the image, start it, run the README's calls against the container
	deploy/image-test

bench: .venv/dev.stamp ## Benchmarks, one after the other, on an otherwise idle machine; needs wrk
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.inference
	$(BIN)/python -m benchmarks.serving

results: .venv/dev.stamp ## Train and measure three seeds of the paper's recipe (15 minutes on 2 cores)
	for seed in 0 1 2; do \
		$(BIN)/whitebox train --recipe paper --seed $$seed --out runs/paper-$$seed && \
		$(BIN)/whitebox evaluate runs/paper-$$seed \
			--out docs/results/mnist-3v5-paper-seed-$$seed.json || exit 1; \
	done

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

# dev holds all that serve needs, so a tree that can be tested can be served without another installation.
.venv/serve.stamp: pyproject.toml
	@test -f .venv/dev.stamp -a .venv/dev.stamp -nt pyproject.toml || $(MAKE) --no-print-directory install EXTRA=attack
	@touch $@

.venv/dev.stamp: pyproject.toml
	@$(MAKE) --no-print-directory install EXTRA=dev
	@touch $@

.PHONY: install
install:
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$(EXTRA)]'
