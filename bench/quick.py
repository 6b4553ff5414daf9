"""Guards against getting slower: small versions of some benchmarks, in minutes.

Each compares us with a rival on the same machine, alternately, so what counts is the ratio. A ratio
below the one in bench/quick.json by more than TOLERANCE is reported, and the exit code is 1. `--write`
makes that file anew.
"""

import argparse
import json
import pathlib
import subprocess
import sys

BENCH = pathlib.Path(__file__).resolve().parent
EXPECTED = BENCH / "quick.json"
# Share by which a ratio may be lower: other machines, and one short run.
TOLERANCE = 0.25
RUNS = {
    "train": ["train/run.py", "--quick", "--users", "60000", "--updates", "60", "--seeds", "1",
              "--brands", "3000", "1000", "--hidden", "512-512", "--losses", "bce"],
    "score": ["score/against_torch.py", "--users", "100000", "--rounds", "1"],
    "sample": ["sample/run.py", "--users", "300000", "--rounds", "1"],
}  # fmt: skip


def ratios(name, command):
    """Of each piece of work the ratio to each rival, by what it measures."""
    work = BENCH / "scratch/quick" / name if name != "score" else None
    options = ["--work", work] if work else []
    subprocess.run([sys.executable, BENCH / command[0], *command[1:], *options], check=True)
    rows = json.loads((BENCH / f"out/{name}.json").read_text())
    # Which of PyTorch's ways is fastest differs from run to run.
    return {f"{row['work']}, {row['rival'].split(' (')[0]}, {row['unit']}": row["ratio"] for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="take what is measured as expected")
    args = parser.parse_args()
    found = {}
    for name, command in RUNS.items():
        found |= ratios(name, command)
    if args.write:
        EXPECTED.write_text(json.dumps(found, indent=1) + "\n")
        return
    expected = json.loads(EXPECTED.read_text())
    worse = []
    for work, ratio in expected.items():
        is_worse = found.get(work, 0) < (1 - TOLERANCE) * ratio
        worse += [work] if is_worse else []
        print(f"{found.get(work)} (expected {ratio}){', worse' if is_worse else ''}: {work}")
    if worse:
        sys.exit(f"{len(worse)} of {len(expected)} ratios are worse by more than {TOLERANCE:.0%}")


if __name__ == "__main__":
    main()
