"""Times sample-stage against DuckDB and Polars on approaches 0, 1a and 3, alternately.

Makes a population (1,000,000 training users with embeddings of 128, 3,000 brands, 12 labels a
user), gives the rivals the training users as parquet files, and runs each program in a process
of its own. Ours writes examples whose embeddings lie in features.arrow, once a user; theirs
write the embeddings into every row: DuckDB to parquet, Polars to Arrow, what each does best
here. Ours runs twice: as it is, and with its query held to 256 MiB. Writes
bench/out/sample.json.
"""

import argparse
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
import population  # noqa: E402

ROOT = HERE.parent.parent
SQL = ROOT / "sample-stage/sql"
STRATEGIES = {
    "0": "clone_small_brands.sql",
    "1a": "clone_without_high_volume.sql",
    "3": "top_users_per_brand.sql",
}
OURS = {
    "ours": ("", []),
    "ours, limited": (", memory_limit 256MiB", ["--set", "sample.memory_limit=256MiB"]),
}


def prepare(work, programs, n_users):
    """The population, the shared files, and the training users as parquet for the rivals."""
    valid, test = n_users // 50, 3 * n_users // 100
    experiments = {
        f"approach_{name}": {"sample": {"sql": str(SQL / sql)}} for name, sql in STRATEGIES.items()
    }
    holdout = {"valid": valid, "test": test, "seed": 7}
    population.make(work, programs, n_users + valid + test, 3000, 0.0001, holdout, experiments)
    subprocess.run([programs / "sample-stage", "holdout"], cwd=work, check=True)
    theirs = work / "training"
    theirs.mkdir(exist_ok=True)
    shared = {"features": "users", "train_interactions": "interactions", "brands": "brands"}
    for source, name in shared.items():
        with pa.memory_map(str(work / f"runs/holdout/{source}.arrow")) as file:
            reader = pa.ipc.open_file(file)
            with pq.ParquetWriter(theirs / f"{name}.parquet", reader.schema) as writer:
                for i in range(reader.num_record_batches):
                    writer.write_batch(reader.get_batch(i))


def measure(command, cwd):
    """Wall seconds and peak resident memory in GiB of a process."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    secs = time.monotonic() - start
    if status != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return secs, usage.ru_maxrss / 2**20


def n_rows(output):
    """Rows of a rival's training set."""
    try:
        return pq.ParquetFile(output).metadata.num_rows
    except pa.ArrowInvalid:
        with pa.memory_map(str(output)) as file:
            reader = pa.ipc.open_file(file)
            return sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))


def check_same_work(name, ours, theirs):
    """Clones are drawn by count; ties of approach 3 fall differently."""
    slack = 0.02 if name == "3" else 0.0
    if abs(theirs - ours) > slack * ours:
        sys.exit(f"approach {name}: ours made {ours} examples, theirs {theirs}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "bench/scratch/sample")
    args = parser.parse_args()
    programs, work = args.programs.resolve(), args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    prepare(work, programs, args.users)

    output = work / "theirs"
    rivals = {
        "DuckDB": [sys.executable, HERE / "duckdb_sample.py"],
        "Polars": [sys.executable, HERE / "polars_sample.py"],
    }
    measured = {}
    for _ in range(args.rounds):
        for name in STRATEGIES:
            stage = [programs / "sample-stage", "sample", "--experiment", f"approach_{name}"]
            commands = {
                **{who: [*stage, *limit] for who, (_, limit) in OURS.items()},
                **{who: [*rival, work / "training", name, output] for who, rival in rivals.items()},
            }
            for who, command in commands.items():
                secs, memory = measure(command, work)
                if who in rivals:
                    record = work / f"runs/approach_{name}/sample/stage.json"
                    rows = json.loads(record.read_text())["summary"]["rows"]
                    check_same_work(name, rows, n_rows(output))
                    output.unlink()
                measured.setdefault((name, who), []).append((secs, memory))
                print(f"approach {name}, {who}: {secs:.2f} s, {memory:.2f} GiB", flush=True)

    rows = []
    for name, who, ours in itertools.product(STRATEGIES, rivals, OURS):
        for i, unit in enumerate(["s", "GiB peak memory"]):
            mine, theirs = (
                statistics.median(run[i] for run in measured[name, whose]) for whose in (ours, who)
            )
            rows.append({
                "work": f"sample approach_{name}{OURS[ours][0]}", "rival": who, "unit": unit,
                "ours": round(mine, 3), "theirs": round(theirs, 3),
                "ratio": round(theirs / mine, 2),
            })  # fmt: skip
    target = ROOT / "bench/out/sample.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
