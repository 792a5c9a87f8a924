#!/usr/bin/env bash
# All tables of the two papers from finished tests, as Markdown.
# benchmarks/tables.sh RUNS... > tables.md
set -euo pipefail
for table in panet-table{1,2,3,5,6} pmms-table{1,2,3,4,5,6}; do
  fsseg table "$@" --like "$table" --format markdown
  echo
done
