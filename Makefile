# Every target sets up what is missing first. PYTHON says which Python makes the virtual environment.
PYTHON ?= python3
BIN := .venv/bin

# Kept bytecode: a run is many short processes, and each would compile the same modules anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo test test-gguf check format bench

setup:
	@$(PYTHON) scripts/setup_env.py train,dev

demo: setup
	@$(BIN)/finetui demo

test: setup
	@$(BIN)/python -m pytest -n 4 --dist loadgroup

test-gguf:
	@$(PYTHON) scripts/setup_env.py train,dev,gguf
	@$(BIN)/python -m pytest -m gguf -n 2 --dist loadgroup tests/deliver

check: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: setup
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup
	@$(BIN)/python -m tests.bench
