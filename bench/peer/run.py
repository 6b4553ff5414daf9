"""Times the whole pipeline, raw tables to figures, against the same job in Python (peer.py).

`bfce_1m` and `approach_1a` on a made-up population: the same users held out, examples drawn by
the same rule, network, loss, updates, batch, optimiser and decision rule; ours computes the cells of
the output layer that matter (`output: sketch`), PyTorch all. The programs take turns.
Ours makes the holdout, intervals and the report as well. Memory is the largest sum over a program
and its children, without mapped files (`anonymous`) and with them (`resident`). Writes
bench/out/peer.json.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.append(str(HERE.parent))
sys.path.append(str(HERE.parent / "train"))
import population  # noqa: E402
from data import table  # noqa: E402
from process import KEEP_MEMORY, watch  # noqa: E402

SQL = ROOT / "sample-stage/sql"
HIDDEN = {"bfce_1m": [256, 256], "approach_1a": [512, 512]}
QUERY = {"bfce_1m": "uniform.sql", "approach_1a": "clone_without_high_volume.sql"}


def experiments(args):
    """As in datasets/population-2m, at this size."""
    uniform = {"n_users": args.sampled, "seed": 7}
    params = {"bfce_1m": uniform, "approach_1a": uniform | {"n_clones": 4 * args.sampled}}
    return {
        name: {
            "sample": {"sql": str(SQL / QUERY[name]), "params": params[name]},
            "train": {"hidden": HIDDEN[name], "loss": {"kind": "bfce"}, "updates": args.updates,
                      "batch_size": 1024, "dropout": 0, "select_epoch": "last"},
            "score": {"decision": {"policy": "fixed", "threshold": 0.5}},
        }
        for name in HIDDEN
    }  # fmt: skip


def ours(programs, work, name):
    """The pipeline from nothing, for one experiment."""
    shutil.rmtree(work / "runs", ignore_errors=True)
    run = watch([programs / "pipeline", "run", name, "--set", f"baseline={name}"], work)
    report = json.loads((work / "runs/report/report.json").read_text())
    found = next(e for e in report["experiments"] if e["name"] == name)
    secs = {"load": table_secs(work / "runs/holdout")} | found["secs"]
    return run | {"macro_f1": found["item"]["macro_f1"], "user_f1": found["user"]["f1"],
                  "buckets": list(found["buckets"].values()), "parts": secs}  # fmt: skip


def table_secs(stage):
    return json.loads((stage / "stage.json").read_text())["secs"]


def theirs(work, data, name, args):
    output = work / "peer.json"
    command = [sys.executable, HERE / "peer.py", data, work / "split.parquet", name, output,
               "--n-users", str(args.sampled), "--n-clones", str(4 * args.sampled),
               "--updates", str(args.updates), "--hidden", *map(str, HIDDEN[name])]  # fmt: skip
    run = watch(command, work, KEEP_MEMORY)
    result = json.loads(output.read_text())
    return run | result | {"parts": result["secs"], "secs": run["secs"]}


def write_split(work, programs):
    """Who is held out, as our holdout stage decides it, for the peer."""
    subprocess.run([programs / "sample-stage", "holdout"], cwd=work, check=True)
    parts = [
        pa.table({"user_id": users, "split": [split] * len(users)})
        for split in ("valid", "test")
        for users in [table(work / f"runs/holdout/{split}.arrow")["user_id"]]
    ]
    pq.write_table(pa.concat_tables(parts), work / "split.parquet")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--sampled", type=int, help="users of the uniform sample; half by default")
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "bench/scratch/peer")
    args = parser.parse_args()
    args.sampled = args.sampled or args.users // 2
    programs, work = args.programs.resolve(), args.work.resolve() / str(args.users)
    holdout = {"valid": args.users // 20, "test": args.users // 10, "seed": 7}
    law = population.LIKE_THE_ORIGINAL
    population.make(work, programs, args.users, 3000, 0.0001, holdout, experiments(args), law)
    write_split(work, programs)
    rows = []
    for name in HIDDEN:
        found = {"ours": [], "theirs": []}
        for _ in range(args.rounds):
            found["ours"].append(ours(programs, work, name))
            found["theirs"].append(theirs(work, work / "population", name, args))
        for who, results in found.items():
            print(name, who, json.dumps(results[-1]), flush=True)
        for unit, key, lower_is_better in (
            ("s", "secs", True), ("GiB anonymous memory", "anonymous", True),
            ("GiB resident memory", "resident", True), ("macro F1", "macro_f1", False), ("user F1", "user_f1", False),
        ):  # fmt: skip
            mine, others = (statistics.median(r[key] for r in found[who]) for who in ("ours", "theirs"))
            ratio = others / mine if lower_is_better else mine / others
            rows.append({"work": f"{name}, {args.users} users, {args.updates} updates", "unit": unit,
                         "rival": "DuckDB, PyTorch at its best, numpy", "ours": round(mine, 4),
                         "theirs": round(others, 4), "ratio": round(ratio, 2)})  # fmt: skip
            print(rows[-1], flush=True)
    target = ROOT / "bench/out/peer.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
