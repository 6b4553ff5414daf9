"""Times train-stage against PyTorch, on the same examples, network, batch, optimiser and updates.

PyTorch runs twice: as people write it, and at its best (torch_train.py says how; its malloc is
told to keep memory). In each round the programs take turns. Ours computes the output layer as it does
by default; for two layers at 3,000 brands also in other ways, of which the exact one's products are
compared with the rate of PyTorch's matrix product alone. Macro F1 is on the valid users, found by the
same code for both; the plain program computes what the best one does, so it is only timed. Writes
bench/out/train.json.
"""

import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import sys

from data import our_layers, table, valid_macro_f1

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.append(str(ROOT / "bench"))
from population import make_sampled  # noqa: E402
from process import KEEP_MEMORY, watch  # noqa: E402

SQL = ROOT / "sample-stage/sql"
BATCH = 1024
DIM = 128
PLAIN_UPDATES = 15
# Settings of the output layer: the default, one that is faster and a little worse, all logits.
OURS = {
    "ours": {},
    "sketch, 0.1": {"output": "sketch", "sparse_gradient": 0.1},
    "sparse": {"output": "sparse"},
    "exact": {"output": "exact"},
}
OTHERS = [who for who in OURS if who != "ours"]
MATRIX_PRODUCT = """
import time, torch
a, b, c = torch.randn(1024, {n_in}), torch.randn({n_in}, {n_out}), torch.empty(1024, {n_out})
def secs():
    start = time.monotonic()
    torch.mm(a, b, out=c)
    return time.monotonic() - start
secs()
print(2 * 1024 * {n_in} * {n_out} / sorted(secs() for _ in range(21))[10] / 1e9)
"""


def ours(programs, work, hidden, loss, updates, seed, output):
    settings = {
        "hidden": list(hidden), "loss": {"kind": loss}, "updates": updates, "seed": seed,
        "batch_size": BATCH, "dropout": 0.0, "select_epoch": "last", **output,
    }  # fmt: skip
    command = [programs / "train-stage", "--experiment", "all"]
    for key, value in settings.items():
        command += ["--set", f"train.{key}={json.dumps(value)}"]
    memory = watch(command, work)["anonymous"]
    history = table(work / "runs/all/train/history.arrow")
    secs = sum(history["secs"].to_pylist())
    network = our_layers(work / "runs/all/train/model.arrow")
    macro_f1 = valid_macro_f1(network, work / "runs")
    return {"rows_per_s": updates * BATCH / secs, "memory": memory, "macro_f1": macro_f1}


def theirs(work, mode, hidden, loss, updates, seed):
    output = work / "result.json"
    command = [sys.executable, HERE / "torch_train.py", work / "runs", mode, output, "--loss", loss]
    command += ["--updates", str(updates), "--seed", str(seed), "--hidden", *map(str, hidden)]
    memory = watch(command, work, KEEP_MEMORY if mode == "best" else None)["anonymous"]
    return json.loads(output.read_text()) | {"memory": memory}


def matrix_product_rate(n_in, n_out):
    """GFLOP/s of PyTorch's product of the output layer."""
    program = MATRIX_PRODUCT.format(n_in=n_in, n_out=n_out)
    return float(subprocess.run([sys.executable, "-c", program], capture_output=True).stdout)


def products_per_row(hidden, n_brands):
    """Floating-point operations of the exact products; the first layer hands no gradient down."""
    widths = [DIM, *hidden, n_brands]
    sizes = [2 * a * b for a, b in itertools.pairwise(widths)]
    return 2 * sizes[0] + 3 * sum(sizes[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--updates", type=int, default=250)
    parser.add_argument("--seeds", type=int, default=3, help="of 3,000 brands, two layers of 512")
    parser.add_argument("--brands", type=int, nargs="+", default=[3000, 1000, 10_000, 30_000])
    parser.add_argument("--hidden", nargs="+", default=["512-512", "1024-1024", "512", "1024"])
    parser.add_argument("--losses", nargs="+", default=["bce", "bfce"])
    parser.add_argument("--quick", action="store_true", help="only the default, against PyTorch at its best")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "bench/scratch/train")
    args = parser.parse_args()
    programs = args.programs.resolve()
    rows = []

    def compare(work, rival, unit, mine, others, lower_is_better=False):
        mine, others = statistics.median(mine), statistics.median(others)
        ratio = others / mine if lower_is_better else mine / others
        rows.append({"work": work, "rival": rival, "unit": unit, "ours": round(mine, 4),
                     "theirs": round(others, 4), "ratio": round(ratio, 2)})  # fmt: skip
        print(rows[-1], flush=True)

    networks = [tuple(map(int, hidden.split("-"))) for hidden in args.hidden]
    for n_brands in args.brands:
        work = args.work.resolve() / str(n_brands)
        # Users have 12 brands each, whatever the number of brands.
        rarest = min(0.0005, 1.5 / n_brands)
        holdout = {"valid": args.users // 10, "test": args.users // 200, "seed": 7}
        experiments = {"all": {"sample": {"sql": str(SQL / "everyone.sql")}}}
        make_sampled(work, programs, args.users, n_brands, rarest, holdout, experiments)
        # More brands than usual only show how time grows with them.
        few = [networks[0]], args.losses[:1]
        for hidden, loss in itertools.product(*(few if n_brands > 3000 else (networks, args.losses))):
            n_seeds = args.seeds if (n_brands, hidden) == (3000, (512, 512)) else 1
            seeds = range(7, 7 + n_seeds)
            others = OTHERS if n_brands == 3000 and len(hidden) == 2 and not args.quick else []
            found = {who: [] for who in [*OURS, "best", "plain", "rate"]}
            for seed in seeds:
                run = (hidden, loss, args.updates, seed)
                found["ours"].append(ours(programs, work, *run, OURS["ours"]))
                found["best"].append(theirs(work, "best", *run))
                if not args.quick:
                    found["plain"].append(theirs(work, "plain", hidden, loss, PLAIN_UPDATES, seed))
                for who in others:
                    found[who].append(ours(programs, work, *run, OURS[who]))
                if others:
                    found["rate"].append(matrix_product_rate(hidden[-1], n_brands))
            name = f"train {n_brands} brands, hidden {'-'.join(map(str, hidden))}, {loss}"

            def figures(who, key):
                return [result[key] for result in found[who]]

            best, plain = "PyTorch at its best", "PyTorch as people write it"
            for who, rival in (("best", best), ("plain", plain))[: 1 if args.quick else 2]:
                compare(name, rival, "rows/s", figures("ours", "rows_per_s"), figures(who, "rows_per_s"))
                compare(name, rival, "GiB anonymous memory", figures("ours", "memory"),
                        figures(who, "memory"), lower_is_better=True)  # fmt: skip
            compare(name, best, "valid macro F1", figures("ours", "macro_f1"), figures("best", "macro_f1"))
            if len(seeds) > 1 and others:
                for who in (*OURS, "best"):
                    print(name, who, "macro F1 by seed", figures(who, "macro_f1"), flush=True)
            if others:
                for who in others:
                    for unit, key in (("rows/s", "rows_per_s"), ("valid macro F1", "macro_f1")):
                        compare(f"{name}, {who}", best, unit, figures(who, key), figures("best", key))
                gflop = products_per_row(hidden, n_brands) / 1e9
                compare(f"{name}, exact", "PyTorch's matrix product alone", "GFLOP/s",
                        [rate * gflop for rate in figures("exact", "rows_per_s")], found["rate"])  # fmt: skip
    target = ROOT / "bench/out/train.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
