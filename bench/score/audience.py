"""Do audiences keep what they promise? Expected against observed precision and size on test users.

Run after `make pipeline`: makes audiences of the demo's test users, whose labels nothing was fitted to, and
compares, by tier, what `pipeline audience` expected with what the labels say. Leaves
bench/out/audience.json.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import polars as pl

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PIPELINE = ROOT / "target/release/pipeline"
SIZES = {"threshold": [], "the best 100": ["--size", "100"], "precision 0.3": ["--min-precision", "0.3"]}


def audience(experiment, size, options, output):
    """What was expected before anything was written, and the audiences."""
    command = [PIPELINE, "audience", experiment, "--users", "runs/holdout/test.arrow", *size, *options, "--json"]
    before = subprocess.run([*command, "-n"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run([*command, "--output", output], cwd=ROOT, check=True, capture_output=True)
    return json.loads(before.stdout)["brands"], pl.read_parquet(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="best")
    parser.add_argument("--set", action="append", default=[], help="passed on to pipeline")
    args = parser.parse_args()
    options = [word for value in args.set for word in ("--set", value)]

    brands = pl.read_ipc(ROOT / "runs/holdout/brands.arrow").select("brand_idx", "brand_id", "tier")
    labels = pl.read_ipc(ROOT / "runs/holdout/test.arrow").select("user_id", brand_idx="brands")
    labels = labels.explode("brand_idx").drop_nulls().join(brands, on="brand_idx").select("user_id", "brand_id")
    labels = labels.with_columns(is_right=pl.lit(1))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, size in SIZES.items():
            expected, members = audience(args.experiment, size, options, f"{folder}/audience.parquet")
            expected = pl.DataFrame(expected, infer_schema_length=None).join(brands, on="brand_id")
            expected = expected.with_columns(hits=pl.col("expected_precision").fill_null(0) * pl.col("n_users"))
            members = members.join(labels, on=["user_id", "brand_id"], how="left").join(brands, on="brand_id")
            for tier in ["head", "torso", "tail"]:
                promised = expected.filter(pl.col("tier") == tier)
                found = members.filter(pl.col("tier") == tier)
                n, hits = found.height, found["is_right"].fill_null(0).sum()
                rows.append({
                    "audience": name, "tier": tier, "brands": promised.height,
                    "expected_users": int(promised["n_users"].sum()), "users": n,
                    "expected_precision": promised["hits"].sum() / max(promised["n_users"].sum(), 1),
                    "precision": hits / max(n, 1),
                })
    print("| audience | tier | brands | users expected | users | precision expected | precision |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        print("| {audience} | {tier} | {brands} | {expected_users:,} | {users:,} | {expected_precision:.3f} "
              "| {precision:.3f} |".format(**row))
    out = ROOT / "bench/out/audience.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
