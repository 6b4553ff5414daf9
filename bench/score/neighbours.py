"""Neighbours among 1,000,000 training users: users scored a second, memory, recall, and F1.

One network is trained; then the same test users are scored without neighbours, with the search
as it is by default and wider, and with the exact search. Writes bench/out/score-neighbours.json;
the rival is the exact search.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "bench"))
import population  # noqa: E402
from process import watch  # noqa: E402

SQL = ROOT / "sample-stage/sql/everyone.sql"
TRAIN = {
    "hidden": [256],
    "loss": {"kind": "bce"},
    "updates": 2000,
    "batch_size": 1024,
    "dropout": 0.0,
    "learning_rate": 0.002,
}
SEARCHES = {"none": None, "search_1": 0.01, "search_2": 0.02, "search_5": 0.05, "search_10": 0.1,
            "exact": 1.0}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--weight", type=float, default=0.3)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "bench/scratch/neighbours")
    args = parser.parse_args()
    programs, work = args.programs.resolve(), args.work.resolve()
    experiments = {}
    for name, search in SEARCHES.items():
        score = {"calibration": "platt", "decision": {"policy": "expected_f1"}}
        if search:
            # The same weight for all, so that only the search differs.
            score["memory"] = {"search": search, "weight": args.weight}
        experiments[name] = {"sample": {"sql": str(SQL)}, "train": TRAIN, "score": score}
    n_test = 20_000
    holdout = {"valid": n_test, "test": n_test, "seed": 7}
    population.make(work, programs, args.users + 2 * n_test, 3000, 0.0005, holdout, experiments)
    # All share one training; each is scored with nothing else running.
    watch([programs / "pipeline", "run"], work)
    found = {}
    for name in experiments:
        record = json.loads((work / f"runs/{name}/score/stage.json").read_text())
        gib = record["peak_memory_bytes"] / 2**30
        found[name] = {"secs": record["secs"], "GiB": gib, **record["summary"]}
    report = json.loads((work / "runs/report/report.json").read_text())
    rows = []
    for experiment in report["experiments"]:
        name = experiment["name"]
        found[name] |= {"macro F1": experiment["item"]["macro_f1"], "user F1": experiment["user"]["f1"],
                        "MAP": experiment["map"]}  # fmt: skip
        if name != "none":
            # Users a second of the pass that decides; `secs` is the whole stage, its index included.
            for unit in ("test_users_per_s", "secs", "memory_recall", "macro F1", "user F1", "MAP"):
                ours, theirs = found[name][unit], found["exact"][unit]
                ratio = theirs / ours if unit == "secs" else ours / theirs
                rows.append({"work": name, "rival": "exact search", "unit": unit, "ours": ours,
                             "theirs": theirs, "ratio": round(ratio, 3)})  # fmt: skip
        print(name, found[name], flush=True)
    target = ROOT / "bench/out/score-neighbours.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
