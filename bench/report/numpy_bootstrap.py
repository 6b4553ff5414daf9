"""The same intervals as a careful numpy user would compute them: a paired bootstrap over users.

Reads every experiment's scores.arrow; prints item macro F1, user F1 and the intervals of their
changes against the first as JSON. The draws are products of a dense block of weights with sparse
indicators, 50 draws at a time.
"""

import json
import pathlib
import sys

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import scipy.sparse as sparse

BLOCK = 50


def indicator(column, n_brands):
    column = column.combine_chunks()
    values = column.values.to_numpy()
    offsets = column.offsets.to_numpy()
    ones = np.ones(len(values), np.float32)
    return sparse.csr_matrix((ones, values, offsets), shape=(len(column), n_brands))


def f1(tp, predicted, labels):
    both = predicted + labels
    return np.where(both > 0, 2 * tp / np.maximum(both, 1), np.nan)


def main():
    runs, n_draws = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    names = sys.argv[3:]
    n_brands = pa.ipc.open_file(runs / "holdout/brands.arrow").read_all().num_rows
    changes, base, figures = {}, None, {}
    for name in names:
        with pa.memory_map(str(runs / name / "score/scores.arrow")) as file:
            table = pa.ipc.open_file(file).read_all()
        labels = indicator(table["labels"], n_brands)
        predicted = indicator(table["predicted"], n_brands)
        hits = labels.multiply(predicted).tocsr()
        n_users = labels.shape[0]
        total = [np.asarray(m.sum(axis=0)).ravel() for m in (hits, predicted, labels)]
        per_user = [np.asarray(m.sum(axis=1)).ravel() for m in (hits, predicted, labels)]
        user_f1 = np.where(per_user[2] > 0, f1(*per_user), np.nan)
        has_label = (per_user[2] > 0).astype(np.float32)
        rng = np.random.default_rng(7)
        macro, user = [], []
        for _ in range(0, n_draws, BLOCK):
            draws = [np.bincount(rng.integers(0, n_users, n_users), minlength=n_users) for _ in range(BLOCK)]
            weights = np.asarray(draws, np.float32)
            sums = [(m.T @ weights.T).T for m in (hits, predicted, labels)]
            macro.extend(np.nanmean(f1(*sums), axis=1))
            user.extend(weights @ np.nan_to_num(user_f1) / (weights @ has_label))
        draws = np.array([macro, user])
        figures[name] = {"macro_f1": float(np.nanmean(f1(*total))), "user_f1": float(np.nanmean(user_f1))}
        base = draws if base is None else base
        changes[name] = np.percentile(draws - base, [2.5, 97.5], axis=1).T.tolist()
    print(json.dumps({"figures": figures, "changes": changes}))


if __name__ == "__main__":
    main()
