#!/usr/bin/env bash
# Runs every fuzz test of the module for a while.
set -eu
time=${1:-30s}
grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r dir; do
  grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | awk '{print $2}' | while read -r name; do
    echo "== $dir $name"
    go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$dir"
  done
done
