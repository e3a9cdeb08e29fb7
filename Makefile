# make run      paint the default pair; settings come as NST_<NAME>=… in front
# make lab      open the notebook in JupyterLab
# make explore  paint the experiments of going_further.ipynb
# make batch    paint a gallery of three photos by three paintings
# make test     the quick tests; make test-all also the slow ones
# make lint     ruff
# make bench    measure the speed; SIZE=large paints large pictures
# make clean    remove the environment and caches, never output/

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run lab explore batch test test-all lint bench clean

run: .venv/ready
	$(BIN)/python scripts/run_notebook.py

lab: .venv/ready
	$(BIN)/jupyter lab --ServerApp.tornado_settings="{'websocket_max_message_size': 150_000_000}" neural_style_transfer.ipynb

explore: .venv/ready
	$(BIN)/python scripts/run_notebook.py going_further.ipynb

test: .venv/ready-for-tests
	$(BIN)/python -m pytest -m "not slow"

test-all: .venv/ready-for-batch test
	$(BIN)/python -m pytest -m slow

batch: .venv/ready-for-batch
	$(BIN)/python scripts/batch.py \
	  --content images/summer_palace.jpg images/chelsea_the_cat.jpg images/astronaut.jpg \
	  --style images/village_street_in_auvers.jpg images/great_wave.jpg images/composition_viii.jpg \
	  --output output/gallery

lint: .venv/ready-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/ready
	$(BIN)/python scripts/benchmark.py $(if $(filter large,$(SIZE)),--large)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "TensorFlow needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 …")'
	@echo "Installing into .venv: this takes a minute or two, and is done once."
	$(PYTHON) -m venv .venv

.venv/ready: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/ready-for-tests: requirements.txt tests/requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@ .venv/ready

.venv/ready-for-batch: requirements.txt scripts/requirements-batch.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r scripts/requirements-batch.txt
	@touch $@ .venv/ready

clean:
	rm -rf .venv .pytest_cache .ruff_cache __pycache__ nst/__pycache__ tests/__pycache__ scripts/__pycache__
