"""Predicting for many users: seconds, memory, and the same bytes after kills.

Trains one small model on a made-up population, writes `--users` users as parquet with doubles and
large strings, as pandas does, and predicts for them: to one parquet file with the thresholds, once without a
break and once killed `--kills` times. Leaves bench/out/predict.json.
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = ROOT / "target/release"
sys.path.insert(0, str(ROOT / "bench"))
import process  # noqa: E402

CHUNK = 250_000
MANIFEST = """\
version: 1
data:
  tables: {users: data/users.parquet, interactions: data/interactions.parquet, brands: data/brands.parquet}
  users: {table: users}
  interactions: {table: interactions}
  brands: {table: brands}
  features: [embedding]
stages:
  sample: {sql: everyone.sql}
  train: {hidden: [256, 256], loss: {kind: bce}, epochs: 1}
  score: {calibration: platt, decision: {policy: global, metric: user}}
experiments: {bau: {}}
"""


def make_model(folder, brands, dim):
    data = ["--users", "20000", "--brands", str(brands), "--dim", str(dim)]
    subprocess.run([BIN / "demo-data", "--output", folder / "data", *data], check=True, capture_output=True)
    (folder / "pipeline.yaml").write_text(MANIFEST)
    shutil.copy(ROOT / "sample-stage/sql/everyone.sql", folder)
    subprocess.run([BIN / "pipeline", "run", "-q"], cwd=folder, check=True, capture_output=True)


def make_users(folder, n, dim):
    path = folder / "new_users"
    path.mkdir()
    rng = np.random.default_rng(7)
    for first in range(0, n, CHUNK):
        m = min(CHUNK, n - first)
        values = pa.array(rng.standard_normal(m * dim).astype(np.float64))
        offsets = pa.array(np.arange(0, (m + 1) * dim, dim, dtype=np.int32))
        ids = pa.array([f"user-{i:09}" for i in range(first, first + m)], pa.large_string())
        table = pa.table({"user_id": ids, "embedding": pa.ListArray.from_arrays(offsets, values)})
        pq.write_table(table, path / f"part-{first // CHUNK:05}.parquet")


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def killed(command, folder, kills, secs):
    """Runs to the end, killed at even times of a run without a break; how often it was killed."""
    n_killed = 0
    for _ in range(kills):
        run = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(secs / (kills + 1))
        if run.poll() is None:
            run.kill()
            n_killed += 1
        run.wait()
        time.sleep(0.5)  # the kernel ends the stage's program
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return n_killed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=10_000_000)
    parser.add_argument("--brands", type=int, default=3000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--kills", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        folder = pathlib.Path(folder)
        make_model(folder, args.brands, args.dim)
        make_users(folder, args.users, args.dim)
        command = [BIN / "pipeline", "predict", "bau", "--users", "new_users", "--output"]
        whole = process.watch([*command, "whole.parquet"], folder)
        size = (folder / "whole.parquet").stat().st_size
        n_killed = killed([*command, "killed.parquet"], folder, args.kills, whole["secs"])
        is_same = digest(folder / "whole.parquet") == digest(folder / "killed.parquet")
        result = {
            "users": args.users, "brands": args.brands, "dim": args.dim, "secs": round(whole["secs"], 1),
            "users_per_s": round(args.users / whole["secs"]), "anonymous_gib": round(whole["anonymous"], 3),
            "resident_gib": round(whole["resident"], 3), "output_gib": round(size / 2**30, 3),
            "kills": n_killed, "same_bytes_after_kills": is_same,
        }
    print(json.dumps(result, indent=2))
    out = ROOT / "bench/out/predict.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps([result], indent=2) + "\n")
    if not is_same:
        sys.exit("a killed job ended with other bytes")


if __name__ == "__main__":
    main()
