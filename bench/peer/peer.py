"""The whole job as a competent Python user would write it: DuckDB draws the examples, PyTorch at
its best trains and scores, numpy counts.

Reads the raw parquet tables and who is a valid or test user. An embedding is kept once a user, not
once an example; the step is compiled; scores are never kept whole. Writes the decisions of the
test users (predictions, the twenty best brands) to parquet and the figures to JSON.
"""

import argparse
import math
import pathlib
import sys
import time

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "train"))
from data import column_of_lists, write_result  # noqa: E402
from torch_train import loss_of, network, rate_of, whole_batches  # noqa: E402

N_TOP = 20
SCORED_AT_ONCE = 4096

UNIFORM = """
create temp table drawn as
    select user_id from training order by hash(user_id, 7) limit $n_users
"""
ORIGINALS = """
select user_row, list(brand_idx) filter (brand_idx is not null) as brands
from drawn join user_rows using (user_id) left join labels using (user_id)
group by user_row
"""
MARKED = """
create temp table marked as
    select user_id,
        list(brand_idx) filter (brand_idx >= $n_high_volume) as brands,
        bool_or(brand_idx >= $n_brands // 2) as has_small_brand
    from labels join drawn using (user_id)
    group by user_id
"""
CANDIDATES = """
create temp table candidates as
    select user_row, brands, row_number() over (order by user_row) - 1 as place
    from marked join user_rows using (user_id) where has_small_brand
"""
CLONES = """
select user_row, brands
from (
    select floor(random() * (select count(*) from candidates))::bigint as place
    from range($n_clones)
)
join candidates using (place)
"""


class Examples:
    """Rows into the embeddings and lists of labels."""

    def __init__(self, parts, features, volumes):
        self.features, self.volumes = features, volumes
        self.user_row = np.concatenate([part["user_row"].to_numpy() for part in parts])
        lists = [column_of_lists(part["brands"].fill_null([])) for part in parts]
        self.brands = np.concatenate([values for _, values in lists])
        counts = np.concatenate([np.diff(offsets) for offsets, _ in lists])
        self.offsets = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self):
        return len(self.user_row)


def draw(con, strategy, n_users, n_clones, n_brands):
    """Tables of `user_row` and `brands`, one row an example."""
    con.execute(UNIFORM, {"n_users": n_users})
    parts = [con.sql(ORIGINALS).to_arrow_table()]
    if strategy == "approach_1a":
        n_high_volume = round(0.01 * n_brands)
        con.execute(MARKED, {"n_high_volume": n_high_volume, "n_brands": n_brands})
        con.execute(CANDIDATES)
        parts.append(con.execute(CLONES, {"n_clones": n_clones}).to_arrow_table())
    return parts


def train(examples, features, hidden, updates, batch_size):
    model = network(features.shape[1], hidden, examples)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_of(updates))
    loss_function = loss_of("bfce")

    @torch.compile
    def step(x, y):
        loss = loss_function(model(x), y)
        loss.backward()
        return loss

    for update, (x, y) in enumerate(whole_batches(features, examples, batch_size)):
        if update == updates:
            break
        optimizer.zero_grad(set_to_none=False)
        step(x, y)
        optimizer.step()
        schedule.step()
    return model


def score(model, features, label_offsets, labels, n_brands, path):
    """Writes the decisions at a threshold of one half; returns counts by brand and F1 by user."""
    n_users = len(features)
    tp, predicted_counts = np.zeros(n_brands), np.zeros(n_brands)
    user_f1 = np.full(n_users, np.nan)
    schema = pa.schema({"predicted": pa.list_(pa.int64()), "top_brands": pa.list_(pa.int64()),
                        "top_probs": pa.list_(pa.float32())})  # fmt: skip
    with torch.no_grad(), pq.ParquetWriter(path, schema) as writer:
        for first in range(0, n_users, SCORED_AT_ONCE):
            probs = torch.sigmoid(model(features[first : first + SCORED_AT_ONCE]))
            n = len(probs)
            offsets = label_offsets[first : first + n + 1]
            own = labels[offsets[0] : offsets[-1]]
            n_own = np.diff(offsets)
            truth = np.zeros((n, n_brands), dtype=bool)
            truth[np.repeat(np.arange(n), n_own), own] = True
            rows, brands = torch.nonzero(probs >= 0.5, as_tuple=True)
            rows, brands = rows.numpy(), brands.numpy()
            is_hit = truth[rows, brands]
            tp += np.bincount(brands[is_hit], minlength=n_brands)
            predicted_counts += np.bincount(brands, minlength=n_brands)
            n_predicted = np.bincount(rows, minlength=n)
            n_hits = np.bincount(rows[is_hit], minlength=n)
            with np.errstate(invalid="ignore"):
                f1 = 2 * n_hits / (n_predicted + n_own)
            user_f1[first : first + n] = np.where(n_own > 0, f1, np.nan)
            best = torch.topk(probs, N_TOP, dim=1)
            tops = np.arange(0, N_TOP * n + 1, N_TOP, dtype=np.int32)
            ends = np.concatenate([[0], np.cumsum(n_predicted)]).astype(np.int32)
            writer.write_table(pa.table([
                pa.ListArray.from_arrays(ends, brands),
                pa.ListArray.from_arrays(tops, best.indices.flatten().numpy()),
                pa.ListArray.from_arrays(tops, best.values.flatten().numpy()),
            ], schema=schema))  # fmt: skip
    return tp, predicted_counts, user_f1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("holdout", type=pathlib.Path, help="parquet: user_id, split")
    parser.add_argument("strategy", choices=["bfce_1m", "approach_1a"])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--n-users", type=int, required=True)
    parser.add_argument("--n-clones", type=int, required=True)
    parser.add_argument("--hidden", type=int, nargs="+", required=True)
    parser.add_argument("--updates", type=int, required=True)
    parser.add_argument("--batch-size", type=int, default=1024)
    args = parser.parse_args()
    torch.manual_seed(7)
    secs, last = {}, time.monotonic()

    def lap(name):
        nonlocal last
        now = time.monotonic()
        secs[name], last = now - last, now

    con = duckdb.connect()
    con.execute(f"""
        create view users as from '{args.data}/users.parquet';
        create temp table holdout as from '{args.holdout}';
        create temp table training as select user_id from users anti join holdout using (user_id);
        create temp table interactions as from '{args.data}/interactions.parquet';
        create temp table brands as
            select brand_id, volume, row_number() over (order by volume desc, brand_id) - 1 as brand_idx
            from (
                select brand_id, count(*) as volume
                from interactions join training using (user_id)
                group by brand_id
            );
        create temp table labels as
            select user_id, brand_idx from interactions join brands using (brand_id);
        create temp table user_rows as
            select user_id, row_number() over (order by user_id) - 1 as user_row from users;
    """)
    volumes = con.sql("select volume from brands order by brand_idx").fetchnumpy()["volume"]
    n_brands = len(volumes)
    column = con.sql("select embedding from users order by user_id").to_arrow_table()["embedding"]
    raw = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    raw = raw.reshape(len(column), -1)
    del column
    is_training = np.ones(len(raw), dtype=bool)
    held = "select user_row from holdout join user_rows using (user_id)"
    is_training[con.sql(held).fetchnumpy()["user_row"]] = False
    features = torch.from_numpy(raw)
    mean, deviation = raw[is_training].mean(axis=0), raw[is_training].std(axis=0)
    features.sub_(torch.from_numpy(mean)).div_(torch.from_numpy(deviation))
    lap("load")
    parts = draw(con, args.strategy, args.n_users, args.n_clones, n_brands)
    examples = Examples(parts, features, volumes.astype(np.float64))
    del parts
    lap("sample")
    model = train(examples, features, args.hidden, args.updates, args.batch_size)
    lap("train")
    test = con.sql("""
        select user_row, list(brand_idx) filter (brand_idx is not null) as brands
        from holdout join user_rows using (user_id) left join labels using (user_id)
        where split = 'test' group by user_row
    """).to_arrow_table()
    offsets, labels = column_of_lists(test["brands"].fill_null([]))
    rows = torch.from_numpy(test["user_row"].to_numpy().copy())
    decisions = args.output.with_suffix(".parquet")
    tp, predicted, user_f1 = score(model, features[rows], offsets, labels, n_brands, decisions)
    support = np.bincount(labels, minlength=n_brands)
    is_defined = predicted + support > 0
    f1 = 2 * tp[is_defined] / (predicted + support)[is_defined]
    lap("score")
    write_result(
        args.output, n_examples=len(examples), macro_f1=float(f1.mean()), user_f1=float(np.nanmean(user_f1)),
        buckets=[int((f1 >= low).sum()) for low in (0.5, 0.1, 0.05)], secs=secs,
    )  # fmt: skip


if __name__ == "__main__":
    main()
