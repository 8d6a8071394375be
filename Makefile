# make demo: train, evaluate and draw on the bundled recordings.  make test: all quick tests.  make test-full: the slow ones too.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-full clean

.venv/installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt -e '.[test]'
	touch $@

demo: .venv/installed
	$(BIN)/python -m tal_jax.main --config=configs/sbhar.py:demo --workdir=runs/demo
	$(BIN)/python -m tal_jax.main --config=configs/sbhar.py:demo --workdir=runs/demo --mode=predict --input=exp19_user10

test: .venv/installed
	$(BIN)/python -m pytest -q -m 'not slow'

test-full: .venv/installed
	$(BIN)/python -m pytest -q

clean:
	rm -rf .venv build dist *.egg-info
