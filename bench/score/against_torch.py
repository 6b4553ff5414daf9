"""Scoring and writing users against PyTorch at its best with numpy thresholds, on the same cores.

A network of 256-256 on a made-up population: 3,000 brands, one threshold each, the 20 most probable
brands. Both read the users from one parquet file and write one Arrow file with the same columns; PyTorch
takes the fastest of several batch sizes, eager and compiled, found on a tenth of the users. The programs take
turns. Checks that both decide alike. Leaves bench/out/score.json.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path += [str(HERE), str(HERE.parent)]
from predict import BIN, CHUNK, make_model  # noqa: E402
from process import KEEP_MEMORY, watch  # noqa: E402

WAYS = [[], ["--compile"]]
BATCHES = [512, 1024, 4096, 16384]


def make_users(path, n, dim):
    """Users as both read them: 32-bit numbers in a list of fixed length."""
    rng = np.random.default_rng(7)
    writer = None
    for first in range(0, n, CHUNK):
        m = min(CHUNK, n - first)
        values = pa.array(rng.standard_normal(m * dim, dtype=np.float32))
        vectors = pa.FixedSizeListArray.from_arrays(values, dim)
        table = pa.table({"user_id": pa.array(range(first, first + m), pa.int64()), "embedding": vectors})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def rival(users, output, options):
    return [sys.executable, HERE / "torch_rival.py", users, "runs/bau", output, *map(str, options)]


def best_options(folder):
    """The fastest of the rival's ways."""
    found = []
    for way in WAYS:
        for batch in BATCHES:
            options = ["--batch", batch, *way]
            try:
                secs = watch(rival("some.parquet", "rival.arrow", options), folder, KEEP_MEMORY)["secs"]
            except SystemExit:  # as where there is no compiler
                print(f"torch {options}: failed", flush=True)
                continue
            print(f"torch {options}: {secs:.1f} s", flush=True)
            found.append((secs, options))
    return min(found)[1]


def check(folder):
    """Both decide alike, apart from probabilities that are a rounding away from their threshold."""
    ours, theirs = (pa.ipc.open_file(folder / name).read_all() for name in ("ours.arrow", "rival.arrow"))
    assert ours["user_id"].to_pylist() == theirs["user_id"].to_pylist()
    top = [np.array(table["top_probs"].combine_chunks().values) for table in (ours, theirs)]
    assert np.abs(top[0] - top[1]).max() < 1e-4
    n = [len(table["predicted"].combine_chunks().values) for table in (ours, theirs)]
    assert abs(n[0] - n[1]) <= 1e-4 * n[0] + 2, n


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--brands", type=int, default=3000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        folder = pathlib.Path(folder)
        make_model(folder, args.brands, args.dim)
        make_users(folder / "users.parquet", args.users, args.dim)
        make_users(folder / "some.parquet", max(args.users // 10, 1000), args.dim)
        options = best_options(folder)
        mine = [BIN / "score-stage", "predict", "--experiment", "bau", "--users", "users.parquet",
                "--output", "ours.arrow", "--top-k", "20"]
        found = {"ours": [], "theirs": []}
        for _ in range(args.rounds):
            found["ours"].append(watch(mine, folder))
            found["theirs"].append(watch(rival("users.parquet", "rival.arrow", options), folder, KEEP_MEMORY))
        check(folder)
    rows = []
    for unit, key in [("s", "secs"), ("GiB anonymous memory", "anonymous"), ("GiB resident memory", "resident")]:
        ours, theirs = (statistics.median(run[key] for run in found[who]) for who in ("ours", "theirs"))
        rows.append({"work": f"score and write {args.users} users, {args.brands} brands", "unit": unit,
                     "rival": f"PyTorch ({' '.join(map(str, options))}), numpy", "ours": round(ours, 3),
                     "theirs": round(theirs, 3), "ratio": round(theirs / ours, 2)})  # fmt: skip
        print(rows[-1], flush=True)
    out = ROOT / "bench/out/score.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
