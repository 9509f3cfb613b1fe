#!/usr/bin/env bash
# Lint, formatting, types and the quick tests, as CI runs them: one process a core, of one thread each, since threads of
# several processes would wait for each other. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check .
ruff format --check .
mypy
OMP_NUM_THREADS=1 python -m pytest -n auto --dist worksteal "$@"
