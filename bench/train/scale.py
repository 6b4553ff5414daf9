"""Trains on 100,000 to 5,000,000 examples of 1,000,000 users: time per row and memory.

The loss is that of approach 4, the squared error weighted by brand. Each size is one pass over
its examples. Writes bench/out/train-scale.json; the rival of each size is the smallest one.
"""

import argparse
import json
import pathlib
import sys

from data import table

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "bench"))
from population import make_sampled  # noqa: E402
from process import watch  # noqa: E402

SQL = ROOT / "sample-stage/sql"
TRAIN = {
    "hidden": [512, 512],
    "loss": {"kind": "mse"},
    "brand_weights": {"power": 0.5, "on": "both"},
    "epochs": 1,
    "batch_size": 1024,
    "dropout": 0.0,
    "select_epoch": "last",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "bench/scratch/train-scale")
    args = parser.parse_args()
    programs, work = args.programs.resolve(), args.work.resolve()
    n = args.users
    experiments = {
        f"rows_{n // 10}": {"sample": {"sql": str(SQL / "uniform.sql"), "params": {"n_users": n // 10}}},
        f"rows_{3 * n // 10}": {"sample": {"sql": str(SQL / "uniform.sql"), "params": {"n_users": 3 * n // 10}}},
        f"rows_{n}": {"sample": {"sql": str(SQL / "everyone.sql")}},
        f"rows_{5 * n}": {"sample": {"sql": str(SQL / "clone_small_brands.sql"),
                                     "params": {"n_users": n, "n_clones": 4 * n}}},
    }  # fmt: skip
    for experiment in experiments.values():
        experiment["train"] = TRAIN
    holdout = {"valid": n // 50, "test": n // 50, "seed": 7}
    make_sampled(work, programs, n + n // 25, 3000, 0.0005, holdout, experiments)
    rows, first = [], {}
    for name in experiments:
        memory = watch([programs / "train-stage", "--experiment", name], work)["anonymous"]
        record = json.loads((work / f"runs/{name}/train/stage.json").read_text())
        rows_per_s = table(work / f"runs/{name}/train/history.arrow")["rows_per_s"][0].as_py()
        figures = {"rows/s": rows_per_s, "GiB anonymous memory": memory}
        first = first or figures
        for unit, figure in figures.items():
            ratio = figure / first[unit] if unit == "rows/s" else first[unit] / figure
            rows.append({"work": f"train {record['summary']['rows']} examples", "rival": "the fewest examples",
                         "unit": unit, "ours": round(figure, 3), "theirs": round(first[unit], 3),
                         "ratio": round(ratio, 2)})  # fmt: skip
            print(rows[-1], flush=True)
    target = ROOT / "bench/out/train-scale.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
