"""The made-up population that the benchmarks run on, and its manifest."""

import json

from process import watch

# The law of datasets/population-2m.
LIKE_THE_ORIGINAL = ["--signal", "2", "--spread", "1", "--noise", "0.25"]
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


def make(work, programs, n_users, n_brands, rarest, holdout, experiments, law=()):
    """Users with embeddings of 128 and 12 labels each, and pipeline.yaml, in the folder `work`.

    * `law`: more of the generator's options.

    Returns what making the users took.
    """
    work.mkdir(parents=True, exist_ok=True)
    made = watch(
        [programs / "demo-data", "--users", str(n_users), "--brands", str(n_brands), "--dim", "128",
         "--labels", "12", "--rarest", str(rarest), "--output", work / "population", *law],
        work,
    )  # fmt: skip
    text = f"{MANIFEST}holdout: {json.dumps(holdout)}\nexperiments: {json.dumps(experiments)}\n"
    (work / "pipeline.yaml").write_text(text)
    return made


def make_sampled(work, programs, n_users, n_brands, rarest, holdout, experiments):
    """A population, split, with a sample for each experiment."""
    make(work, programs, n_users, n_brands, rarest, holdout, experiments)
    watch([programs / "sample-stage", "holdout"], work)
    for name in experiments:
        watch([programs / "sample-stage", "sample", "--experiment", name], work)
