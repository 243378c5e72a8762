#!/usr/bin/env bash
# Every tier of tests, lint and types; the outcome is kept in docs/checks/last.log.
# It uses the environment that the README's test command makes.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
EPISODES_TEST_DATA=$(realpath -e "${EPISODES_TEST_DATA:-../shared/data}")
export EPISODES_TEST_DATA
log=docs/checks/last.log
changed=$(git status --porcelain -- . ":!$log")
failed=0

check() {
    local name=$1 begun=$SECONDS status=0
    shift
    echo "== $name"
    "$@" 2>&1 || status=$?
    if [ "$status" -eq 5 ]; then
        echo "no tests in this tier"
    elif [ "$status" -ne 0 ]; then
        failed=1
    fi
    echo "== $name: exit $status, $((SECONDS - begun)) s"
}

every_check() {
    echo "commit $(git rev-parse --short HEAD)${changed:+ with uncommitted changes}, $(date -u +%FT%RZ)"
    check "default tests, without real data" env -u EPISODES_TEST_DATA "$python" -m pytest -q
    check "slow tests" "$python" -m pytest -q -m "slow and not real_data"
    check "real_data tests" "$python" -m pytest -q -m real_data
    check "adapters tests" "$python" -m pytest -q -m adapters
    check "ruff check" "$python" -m ruff check .
    check "ruff format" "$python" -m ruff format --check .
    check "mypy" "$python" -m mypy
    return "$failed"
}

without_machine_paths() {
    sed -u -e "s|$EPISODES_TEST_DATA|\$EPISODES_TEST_DATA|g" -e "s|$PWD|.|g" -e "s|$HOME|~|g"
}

mkdir -p "$(dirname "$log")"
every_check | without_machine_paths | tee "$log"
