# make run         paint the default pair; settings come as NST_<NAME>=… in front
# make neighbours  the same with the second lesson, nearest_neighbours.ipynb
# make lab         open the notebooks in JupyterLab
# make exercise    open the first lesson with its functions left to you, in JupyterLab
# make explore     paint the experiments of going_further.ipynb
# make batch       paint a gallery of three photos by three paintings
# make test        the quick tests; make test-all also the slow ones
# make lint        ruff
# make bench       measure the speed
# make clean       remove the environment and caches, never output/
#
# PYTHON=python3.12 takes another Python, VENV=… another folder for the environment, and LOCKED=1 installs the very
# versions that were tested (constraints.txt).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(LOCKED),-c constraints.txt)

.PHONY: run neighbours lab exercise explore batch test test-all lint bench clean

run: $(VENV)/ready
	$(BIN)/python scripts/run_notebook.py

neighbours: $(VENV)/ready
	$(BIN)/python scripts/run_notebook.py nearest_neighbours.ipynb

LAB := $(BIN)/jupyter lab --ServerApp.tornado_settings="{'websocket_max_message_size': 150_000_000}"

lab: $(VENV)/ready
	$(LAB) neural_style_transfer.ipynb

exercise: $(VENV)/ready
	$(LAB) exercise.ipynb

explore: $(VENV)/ready
	$(BIN)/python scripts/run_notebook.py going_further.ipynb

test: $(VENV)/ready-for-tests
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/ready-for-batch test
	$(BIN)/python -m pytest -m slow

batch: $(VENV)/ready-for-batch
	$(BIN)/python -m batch \
	  --content images/summer_palace.jpg images/chelsea_the_cat.jpg images/astronaut.jpg \
	  --style images/village_street_in_auvers.jpg images/great_wave.jpg images/composition_viii.jpg \
	  --output output/gallery

lint: $(VENV)/ready-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(VENV)/ready
	$(BIN)/python scripts/authors/benchmark.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "TensorFlow needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 …")'
	@echo "Installing into $(VENV): this takes a minute or two, and is done once."
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: requirements.txt | $(VENV)/bin/python
	$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/ready-for-tests: requirements.txt tests/requirements.txt | $(VENV)/bin/python
	$(INSTALL) -r tests/requirements.txt
	@touch $@ $(VENV)/ready

$(VENV)/ready-for-batch: requirements.txt batch/requirements.txt | $(VENV)/bin/python
	$(INSTALL) -r requirements.txt -r batch/requirements.txt
	@touch $@ $(VENV)/ready

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache __pycache__ */__pycache__ scripts/authors/__pycache__
