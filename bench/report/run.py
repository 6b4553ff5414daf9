"""The report of ten experiments with 200,000 test users and 3,000 brands: time, memory, size.

One network is trained and decided in ten ways. The rival computes the intervals of item macro F1
and user F1 alone, with numpy and scipy, and must find the same. Writes bench/out/report.json.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "bench"))
import population  # noqa: E402
from process import watch  # noqa: E402

N_BRANDS = 3000
N_DRAWS = 1000
TRAIN = {"hidden": [128], "loss": {"kind": "bce"}, "updates": 600, "learning_rate": 0.003}
DECISIONS = {
    "fixed": {"policy": "fixed", "threshold": 0.5},
    "fixed_low": {"policy": "fixed", "threshold": 0.2},
    "micro": {"policy": "global", "metric": "micro"},
    "macro": {"policy": "global", "metric": "macro"},
    "per_brand": {"policy": "per_brand"},
    "expected_f1": {"policy": "expected_f1"},
    "expected_volume": {"policy": "expected_volume"},
    "top_10": {"policy": "top_k", "k": 10},
    "gain_half": {"policy": "gain", "brand_share": 0.5},
    "gain_tenth": {"policy": "gain", "brand_share": 0.1},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=200_000, help="test users")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "bench/scratch/report")
    args = parser.parse_args()
    programs, work = args.programs.resolve(), args.work.resolve()
    sql = {"sql": str(ROOT / "sample-stage/sql/everyone.sql")}
    experiments = {
        name: {"sample": sql, "train": TRAIN, "score": {"calibration": "platt", "decision": decision}}
        for name, decision in DECISIONS.items()
    }
    holdout = {"valid": args.users // 10, "test": args.users, "seed": 7}
    n_users = args.users // 10 * 15
    population.make(work, programs, n_users, N_BRANDS, 0.0005, holdout, experiments)
    with (work / "pipeline.yaml").open("a") as manifest:
        manifest.write(f"baseline: fixed\nstages: {json.dumps({'report': {'bootstrap_draws': N_DRAWS}})}\n")
    watch([programs / "pipeline", "run"], work)
    ours = watch([programs / "report-stage"], work)
    command = [sys.executable, ROOT / "bench/report/numpy_bootstrap.py", "runs", str(N_DRAWS), *DECISIONS]
    theirs = watch(command, work)
    agree(json.loads((work / "runs/report/report.json").read_text()), json.loads((work / "log.txt").read_text()))
    what = f"report of {len(DECISIONS)} experiments, {args.users} test users, {N_BRANDS} brands"
    rival = "numpy and scipy, intervals only"
    rows = [
        {"work": what, "rival": rival, "unit": unit, "ours": round(ours[key], 2),
         "theirs": round(theirs[key], 2), "ratio": round(theirs[key] / ours[key], 2)}
        for unit, key in (("s", "secs"), ("GiB anonymous memory", "anonymous"))
    ]  # fmt: skip
    page = (work / "runs/report/report.html").stat().st_size / 1e6
    rows.append({"work": what, "rival": "3 MB", "unit": "MB of report.html", "ours": round(page, 2),
                 "theirs": 3.0, "ratio": round(3.0 / page, 2)})  # fmt: skip
    for row in rows:
        print(row, flush=True)
    target = ROOT / "bench/out/report.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")


def agree(report, theirs):
    """Equal figures; ends of intervals within what other draws may change."""
    for experiment in report["experiments"]:
        figures = theirs["figures"][experiment["name"]]
        pairs = [(experiment["item"]["macro_f1"], figures["macro_f1"], 1e-5),
                 (experiment["user"]["f1"], figures["user_f1"], 1e-5)]  # fmt: skip
        delta = experiment["delta"]
        for ends, key in zip(theirs["changes"][experiment["name"]], ("item_f1", "user_f1")):
            width = abs(ends[1] - ends[0])
            pairs += [(delta[key]["ci95"][i], ends[i], 0.15 * width + 1e-6) for i in (0, 1)]
        for ours, other, tolerance in pairs:
            if abs(ours - other) > tolerance:
                sys.exit(f"{experiment['name']}: {ours} against {other}")


if __name__ == "__main__":
    main()
