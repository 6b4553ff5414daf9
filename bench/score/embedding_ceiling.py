"""What the noise in the demo's embeddings leaves possible: a ceiling for any model of them.

The demo's truth is known: tastes are normal, an embedding is tanh of a linear view of the taste
plus noise, a label is a coin whose log-odds are linear in the taste. From the users' true tastes
(which no model sees) the view is fitted; from each embedding then follows what can be known of
the taste, and so the best probability of every label that any model could give, with however
much data. Thresholds by the plug-in rule over valid and test users, without their labels.

Needs `make pipeline` first. Writes bench/out/embedding-ceiling.json.
"""

import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUCKETS = (0.5, 0.1, 0.05)


def table(path):
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def vectors(column):
    column = column.combine_chunks()
    n = len(column)
    return np.asarray(column.values, dtype=np.float64).reshape(n, -1)


def labels(holdout, n_brands):
    column = holdout["brands"].combine_chunks()
    rows = np.repeat(np.arange(len(column)), np.diff(np.asarray(column.offsets)))
    found = np.zeros((len(column), n_brands))
    found[rows, np.asarray(column.values)] = 1
    return found


def fit_view(taste, embedding):
    """Gauss-Newton for the view `(n_taste, n_dims)`, and the deviation of the noise."""
    view = np.linalg.lstsq(taste, embedding, rcond=None)[0]
    for _ in range(20):
        signal = np.tanh(taste @ view)
        slope = 1 - signal**2
        for k in range(view.shape[1]):
            jacobian = taste * slope[:, k : k + 1]
            view[:, k] += np.linalg.lstsq(jacobian, embedding[:, k] - signal[:, k], rcond=None)[0]
    return view, (embedding - np.tanh(taste @ view)).std()


def posterior(view, noise, embedding):
    """Mean `(n_users, n_taste)` and covariance of the taste, by Laplace's method."""
    n_taste = view.shape[0]
    taste = np.zeros((len(embedding), n_taste))
    for _ in range(30):
        signal = np.tanh(taste @ view)
        jacobian = (1 - signal**2)[:, :, None] * view.T[None]
        gradient = np.einsum("ukt,uk->ut", jacobian, embedding - signal) / noise**2 - taste
        precision = np.einsum("ukt,uks->uts", jacobian, jacobian) / noise**2 + np.eye(n_taste)
        taste += 0.7 * np.linalg.solve(precision, gradient[:, :, None])[:, :, 0]
    return taste, np.linalg.inv(precision)


def figures(probs, over, truth):
    best = -np.sort(-over, axis=0)
    hits = np.cumsum(best, axis=0)
    n = np.arange(1, len(best) + 1)[:, None]
    thresholds = (2 * hits / (n + hits[-1])).max(axis=0) / 2
    predicted = probs >= thresholds
    tp = (predicted * truth).sum(axis=0)
    f1 = 2 * tp / np.maximum(predicted.sum(axis=0) + truth.sum(axis=0), 1)
    user_tp = (predicted * truth).sum(axis=1)
    has = truth.sum(axis=1) > 0
    user_f1 = (2 * user_tp / np.maximum(predicted.sum(axis=1) + truth.sum(axis=1), 1))[has].mean()
    return {"buckets": [int((f1 >= low).sum()) for low in BUCKETS], "macro F1": f1.mean(), "user F1": user_f1}


def main():
    users = pq.read_table(ROOT / "data/demo/users.parquet")
    oracle = table(ROOT / "data/demo/oracle.arrow")
    arrays = {row["name"]: np.array(row["data"]).reshape(row["shape"]) for row in oracle.to_pylist()}
    directions, biases = arrays["layers.0.weights"], arrays["layers.0.bias"]
    ids = json.loads(oracle.schema.metadata[b"architecture"])["brand_ids"]
    brands = table(ROOT / "runs/holdout/brands.arrow")["brand_id"].to_pylist()
    order = [ids.index(brand) for brand in brands]
    directions, biases = directions[:, order], biases[order]

    holdout = {name: table(ROOT / f"runs/holdout/{name}.arrow") for name in ("valid", "test")}
    test = set(holdout["test"]["user_id"].to_pylist())
    is_known = np.array([user not in test for user in users["user_id"].to_pylist()])
    view, noise = fit_view(vectors(users["latent"])[is_known], vectors(users["embedding"])[is_known])
    print(f"noise of the embedding: {noise:.3f}")
    probs, true = {}, {}
    for name, part in holdout.items():
        mean, covariance = posterior(view, noise, vectors(part["embedding"]))
        spread = np.einsum("tb,uts,sb->ub", directions, covariance, directions, optimize=True)
        log_odds = (mean @ directions + biases) / np.sqrt(1 + np.pi / 8 * spread)
        probs[name] = 1 / (1 + np.exp(-log_odds))
        true[name] = 1 / (1 + np.exp(-(vectors(part["latent"]) @ directions + biases)))
    truth = labels(holdout["test"], len(brands))
    found = {
        "embedding": figures(probs["test"], np.concatenate([probs["valid"], probs["test"]]), truth),
        "taste": figures(true["test"], np.concatenate([true["valid"], true["test"]]), truth),
    }
    ours = json.loads((ROOT / "runs/report/report.json").read_text())["experiments"]
    rows = []
    for e in ours:
        if e["status"] != "ok":
            continue
        values = [*e["buckets"].values(), e["item"]["macro_f1"], e["user"]["f1"]]
        for rival, ceiling in found.items():
            bounds = [*ceiling["buckets"], ceiling["macro F1"], ceiling["user F1"]]
            units = [*(f"brands at F1 >= {low}" for low in BUCKETS), "macro F1", "user F1"]
            rows += [
                {"work": e["name"], "rival": f"ceiling from the {rival}", "unit": unit,
                 "ours": value, "theirs": bound, "ratio": round(value / bound, 3)}
                for unit, value, bound in zip(units, values, bounds, strict=True)
            ]  # fmt: skip
    for name, ceiling in found.items():
        print(name, ceiling)
    for row in rows:
        if row["work"] in ("best", "best_audience"):
            print(row)
    target = ROOT / "bench/out/embedding-ceiling.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
