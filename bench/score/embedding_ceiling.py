"""What the noise in the demo's embeddings leaves possible: a ceiling for any model of them.

The demo's truth is known: tastes are normal, an embedding is tanh of a linear view of the taste
plus noise, a label is a coin whose log-odds are linear in the taste. From the users' true tastes
(which no model sees) the view is fitted; from each embedding then follows what can be known of
the taste, and so the best probability of every label that any model could give, with however
much data. Thresholds by the plug-in rule over valid and test users, without their labels.

Needs `make pipeline` first, or with --manifest the holdout of another population. Writes
bench/out/embedding-ceiling.json.
"""

import argparse

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


def labels(holdout):
    column = holdout["brands"].combine_chunks()
    offsets, values = np.asarray(column.offsets), np.asarray(column.values)
    return [values[low:high] for low, high in zip(offsets[:-1], offsets[1:], strict=True)]


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
    """Mode `(n_users, n_taste)` and covariance of the taste there, by Laplace's method."""
    n_taste = view.shape[0]
    taste = np.zeros((len(embedding), n_taste))
    for _ in range(30):
        signal = np.tanh(taste @ view)
        jacobian = (1 - signal**2)[:, :, None] * view.T[None]
        gradient = np.einsum("ukt,uk->ut", jacobian, embedding - signal) / noise**2 - taste
        precision = np.einsum("ukt,uks->uts", jacobian, jacobian) / noise**2 + np.eye(n_taste)
        taste += 0.7 * np.linalg.solve(precision, gradient[:, :, None])[:, :, 0]
    return taste, np.linalg.inv(precision)


def probabilities(view, noise, embedding, directions, biases, n_draws, rng):
    """Probabilities `(n_users, n_brands)` given the embeddings: means over the posterior of the taste.

    Importance sampling: tastes are drawn from a t distribution about the mode, whose tails are
    heavier than the posterior's, and weighted by posterior over proposal. Also returns the median
    share of the draws that effectively count.
    """
    freedom = 8
    found = np.empty((len(embedding), len(biases)), dtype=np.float32)
    counting = []
    for first in range(0, len(embedding), 200):
        rows = slice(first, first + 200)
        mode, covariance = posterior(view, noise, embedding[rows])
        root = np.linalg.cholesky(covariance)
        n_users, n_taste = mode.shape
        normal = rng.standard_normal((n_users, n_draws, n_taste))
        scale = np.sqrt(freedom / rng.chisquare(freedom, (n_users, n_draws, 1)))
        offset = normal * scale
        taste = mode[:, None] + offset @ root.transpose(0, 2, 1)
        misfit = embedding[rows][:, None] - np.tanh(taste @ view)
        log_posterior = -((misfit / noise) ** 2).sum(axis=2) / 2 - (taste**2).sum(axis=2) / 2
        log_proposal = -(freedom + n_taste) / 2 * np.log1p((offset**2).sum(axis=2) / freedom)
        weights = np.exp((log_posterior - log_proposal) - (log_posterior - log_proposal).max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        counting.append(1 / (weights**2).sum(axis=1) / n_draws)
        log_odds = taste.astype(np.float32) @ directions.astype(np.float32) + biases.astype(np.float32)
        np.negative(log_odds, out=log_odds)
        np.exp(log_odds, out=log_odds)
        log_odds += 1
        np.reciprocal(log_odds, out=log_odds)
        found[rows] = (weights.astype(np.float32)[:, None] @ log_odds)[:, 0]
    return found, float(np.median(np.concatenate(counting)))


def figures(probs, over, truth):
    """Figures of the best decision by these probabilities.

    * `over`: probabilities of the users over whom F1 is expected, in parts.
    * `truth`: for each user the positions of the brands.
    """
    n_users, n_brands = probs.shape
    has_brand = [[] for _ in range(n_brands)]
    for user, brands in enumerate(truth):
        for brand in brands:
            has_brand[brand].append(user)
    n_labels = np.array([len(brands) for brands in truth])
    n_predicted, n_hits, f1 = np.zeros(n_users), np.zeros(n_users), np.full(n_brands, np.nan)
    for brand in range(n_brands):  # one at a time, so that millions of users fit
        best = -np.sort(-np.concatenate([part[:, brand] for part in over]).astype(np.float64))
        hits = np.cumsum(best)
        threshold = (2 * hits / (np.arange(1, len(best) + 1) + hits[-1])).max() / 2
        predicted = probs[:, brand] >= threshold
        n_predicted += predicted
        hit = np.array(has_brand[brand], dtype=int)
        hit = hit[predicted[hit]]
        n_hits[hit] += 1
        size = predicted.sum() + len(has_brand[brand])
        if size > 0:
            f1[brand] = 2 * len(hit) / size
    has = n_labels > 0
    user_f1 = (2 * n_hits[has] / (n_predicted + n_labels)[has]).mean()
    buckets = [int((f1 >= low).sum()) for low in BUCKETS]
    return {"buckets": buckets, "macro F1": float(np.nanmean(f1)), "user F1": float(user_f1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--population", type=pathlib.Path, default=ROOT / "data/demo")
    parser.add_argument("--runs", type=pathlib.Path, default=ROOT / "runs")
    parser.add_argument("--draws", type=int, default=200, help="of the taste of each user")
    parser.add_argument("--users", type=int, help="test users to look at; all by default")
    args = parser.parse_args()
    users = pq.read_table(args.population / "users.parquet", columns=["user_id", "latent", "embedding"])
    oracle = table(args.population / "oracle.arrow")
    arrays = {row["name"]: np.array(row["data"]).reshape(row["shape"]) for row in oracle.to_pylist()}
    directions, biases = arrays["layers.0.weights"], arrays["layers.0.bias"]
    ids = json.loads(oracle.schema.metadata[b"architecture"])["brand_ids"]
    brands = table(args.runs / "holdout/brands.arrow")["brand_id"].to_pylist()
    place = {brand: i for i, brand in enumerate(ids)}
    order = [place[str(brand)] if str(brand) in place else place[brand] for brand in brands]
    directions, biases = directions[:, order], biases[order]

    holdout = {name: table(args.runs / f"holdout/{name}.arrow") for name in ("valid", "test")}
    if args.users:
        holdout["test"] = holdout["test"].slice(0, args.users)
    # The view is fitted on users that are not tested, as many as pin it down.
    test = set(holdout["test"]["user_id"].to_pylist())
    is_known = np.array([user not in test for user in users["user_id"].to_pylist()])
    known = np.flatnonzero(is_known)[:200_000]
    of_known = users.take(known)
    view, noise = fit_view(vectors(of_known["latent"]), vectors(of_known["embedding"]))
    print(f"noise of the embedding: {noise:.3f}")
    rng = np.random.default_rng(7)
    probs, true = {}, {}
    for name, part in holdout.items():
        embedding = vectors(part["embedding"])
        probs[name], counting = probabilities(view, noise, embedding, directions, biases, args.draws, rng)
        print(f"{name}: {counting:.0%} of the draws count, in the median")
        true[name] = (1 / (1 + np.exp(-(vectors(part["latent"]) @ directions + biases)))).astype(np.float32)
    truth = labels(holdout["test"])
    for name, p in (("embedding", probs), ("taste", true)):
        n_expected = p["test"].sum(dtype=np.float64)
        print(f"{name}: expects {n_expected / sum(map(len, truth)):.3f} of the labels")
    found = {
        "embedding": figures(probs["test"], [probs["valid"], probs["test"]], truth),
        "taste": figures(true["test"], [true["valid"], true["test"]], truth),
    }
    ours = json.loads((args.runs / "report/report.json").read_text())["experiments"]
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
