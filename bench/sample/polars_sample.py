"""The sampling strategies as a Polars user would write them; writes an Arrow training set with
the embeddings in every row."""

import sys

import polars as pl

data, strategy, output = sys.argv[1:]
users = pl.scan_parquet(f"{data}/users.parquet")
interactions = pl.scan_parquet(f"{data}/interactions.parquet")
brands = pl.read_parquet(f"{data}/brands.parquet")

if strategy == "3":
    top_users = (
        interactions.sort("events", pl.col("user_id").hash(7), descending=[True, False])
        .group_by("brand_id")
        .head(10_000)
        .select("user_id")
        .unique()
    )
    sample = (
        interactions.join(top_users, on="user_id", how="semi")
        .group_by("user_id")
        .agg(pl.col("brand_id").alias("brands"))
        .join(users, on="user_id")
    )
else:
    n_brands = brands.height
    marked = brands.lazy().select(
        "brand_id",
        is_small=pl.col("brand_idx") >= 0.5 * n_brands,
        is_high_volume=pl.col("brand_idx") < 0.01 * n_brands,
    )
    drawn = (
        users.select("user_id").sort(pl.col("user_id").hash(7)).head(1_000_000).collect()
    )
    kept = pl.col("brand_id")
    if strategy == "1a":
        kept = kept.filter(~pl.col("is_high_volume"))
    user_brands = (
        interactions.join(marked, on="brand_id")
        .join(drawn.lazy(), on="user_id", how="semi")
        .group_by("user_id")
        .agg(
            brands=pl.col("brand_id"),
            brands_of_clone=kept,
            has_small_brand=pl.col("is_small").any(),
        )
        .collect()
    )
    clones = (
        user_brands.filter("has_small_brand")
        .select("user_id", brands="brands_of_clone")
        .sample(4 * drawn.height, with_replacement=True, seed=7)
        .with_columns(is_clone=True)
    )
    originals = drawn.join(user_brands, on="user_id", how="left").select(
        "user_id", "brands", is_clone=False
    )
    sample = pl.concat([originals, clones]).lazy().join(users, on="user_id")

sample.sink_ipc(output)
