#!/usr/bin/env bash
# Lint, formatting, types and the quick tests, as CI runs them. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check .
ruff format --check .
mypy
python -m pytest "$@"
