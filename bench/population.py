"""The made-up population that the benchmarks run on, and its manifest."""

import json
import subprocess

MANIFEST = """\
version: 1
run_dir: runs
data:
  tables:
    users: population/users.parquet
    interactions: population/interactions.parquet
    brands: population/brands.parquet
  users: {table: users}
  interactions: {table: interactions}
  brands: {table: brands}
  features: [embedding]
"""


def make(work, programs, n_users, n_brands, rarest, holdout, experiments):
    """Users with embeddings of 128 and 12 labels each, and pipeline.yaml, in the folder `work`."""
    work.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [programs / "demo-data", "--users", str(n_users), "--brands", str(n_brands), "--dim", "128",
         "--labels", "12", "--rarest", str(rarest), "--output", work / "population"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    text = f"{MANIFEST}holdout: {json.dumps(holdout)}\nexperiments: {json.dumps(experiments)}\n"
    (work / "pipeline.yaml").write_text(text)
