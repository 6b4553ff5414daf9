"""The strongest simple rivals on repeat purchases, over our users and labels: TIFU-KNN and UP-CF.

Both are written from their papers (Hu et al., SIGIR 2020; Faggioli et al., UMAP 2020) and read
baskets before a date: the same households, manufacturers and labels as the holdout of
datasets/complete-journey has. Neighbours are training users. Each runs with its published settings
for this data (Dunnhumby), and tuned on the valid users over the ranges that the papers searched. Also
shown: how often a user bought a brand (personal frequency), and TIFU-KNN with what its neighbours
bought *after* the date, which its authors' setting has no place for and ours does.

Prints recall@10 and NDCG@10 of the test users, each the mean over users with a label as in
report.json, beside those of our experiments; writes bench/out/next_basket.json.
"""

import argparse
import itertools
import json
import pathlib

import duckdb
import numpy as np
import pyarrow as pa

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "datasets/complete-journey"
K = 10
# A basket is a household's visit; week 26 ends before this (see users.sql).
AS_OF = "2017-06-26 04:00:00"
BASKETS = """
select distinct household_id as user_id, basket_id, manufacturer_id as brand_id,
    min(transaction_timestamp) over (partition by household_id, basket_id) as time
from '{raw}/transactions.parquet' join '{raw}/products.parquet' using (product_id)
where {before}
"""
# TIFU-KNN: neighbours, decay within a group and of groups, groups, own share.
TIFU_PUBLISHED = {"paper": (900, 0.9, 0.6, 3, 0.2), "later tuned": (500, 1.0, 0.6, 14, 0.4)}
TIFU_GRID = ([100, 300, 500, 900], [0.6, 0.8, 0.9, 1.0], [0.2, 0.4, 0.6, 0.8, 1.0], [3, 7, 14, 23],
             [0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0])  # fmt: skip
# UP-CF: last baskets, locality, asymmetry, neighbours (None: all).
UPCF_PUBLISHED = {"later tuned": (25, 5, 0.75, 100)}
UPCF_GRID = ([5, 10, 25, 50, 100, 1000], [1, 5, 10, 50, 100], [0, 0.25, 0.5, 0.75, 1], [100, 500, None])


def read(path):
    return pa.ipc.open_file(path).read_all()


class Users:
    """Baskets of users before the date, oldest first; `labels` (n_users, n_brands) where known."""

    def __init__(self, ids, baskets, n_brands, labels=None):
        self.baskets = [baskets.get(user, []) for user in ids]
        self.n_brands = n_brands
        self.labels = labels

    def counts(self, last=None):
        """Of each brand, in the last baskets."""
        counts = np.zeros((len(self.baskets), self.n_brands))
        for row, baskets in zip(counts, self.baskets):
            for basket in baskets if last is None else baskets[-last:]:
                row[basket] += 1
        return counts

    def popularity(self, last):
        """UP-CF: share of the last baskets with the brand."""
        n_baskets = np.array([max(1, min(last, len(baskets))) for baskets in self.baskets])
        return self.counts(last) / n_baskets[:, None]

    def frequency(self, within, between, n_groups):
        """TIFU-KNN: baskets in groups of equal size, decayed within groups and from group to group."""
        vectors = np.zeros((len(self.baskets), self.n_brands))
        for row, baskets in zip(vectors, self.baskets):
            groups = [group for group in np.array_split(np.arange(len(baskets)), min(n_groups, len(baskets) or 1)) if len(group)]
            for i, group in enumerate(groups):
                for place, basket in enumerate(group):
                    weight = within ** (len(group) - 1 - place) / len(group)
                    row[baskets[basket]] += weight * between ** (len(groups) - 1 - i) / len(groups)
        return vectors


def baskets_before(date, brands):
    """For each user a list of arrays of brand positions."""
    sql = BASKETS.format(raw=DATA / "raw", before=f"transaction_timestamp < timestamp '{date}'")
    rows = duckdb.sql(f"select * from ({sql}) order by user_id, time, basket_id, brand_id").fetchall()
    found = {}
    for user, of_user in itertools.groupby(rows, key=lambda row: row[0]):
        baskets = itertools.groupby(of_user, key=lambda row: row[1])
        positions = ([brands[row[2]] for row in basket if row[2] in brands] for _, basket in baskets)
        found[user] = [np.array(basket, int) for basket in positions]
    return found


def nearest(similarity, n):
    """The n largest of each row, with ties by position: a mask."""
    if n is None or n >= similarity.shape[1]:
        return np.ones_like(similarity, bool)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :n]
    mask = np.zeros_like(similarity, bool)
    np.put_along_axis(mask, order, True, axis=1)
    return mask


def minus_distances(asking, known):
    return 2 * asking @ known.T - (known**2).sum(axis=1)


def tifu_scores(asking, known, future=False):
    """Yields settings and scores (n_users, n_brands) of TIFU-KNN."""

    def of(settings):
        ks, within, between, groups, shares = settings
        own, theirs = asking.frequency(within, between, groups), known.frequency(within, between, groups)
        closeness = minus_distances(own, theirs)
        targets = known.labels if future else theirs
        for k in ks:
            mean = nearest(closeness, k) @ targets / min(k, len(theirs))
            for share in shares:
                yield (k, within, between, groups, share), share * own + (1 - share) * mean

    return of


def upcf_scores(asking, known):
    """Yields settings and scores of UP-CF."""
    own_items, their_items = asking.counts() > 0, known.counts() > 0
    common = own_items.astype(float) @ their_items.T.astype(float)
    own_size, their_size = np.maximum(own_items.sum(axis=1), 1.0), np.maximum(their_items.sum(axis=1), 1.0)

    def of(settings):
        recency, qs, asymmetries, ks = settings
        own, theirs = asking.popularity(recency), known.popularity(recency)
        for asymmetry in asymmetries:
            similarity = common / (own_size[:, None] ** asymmetry * their_size[None, :] ** (1 - asymmetry))
            for k in ks:
                kept = similarity * nearest(similarity, k)
                for q in qs:
                    # A user is the nearest of their own neighbours, at a similarity of 1.
                    yield (recency, q, asymmetry, k), own + kept**q @ theirs

    return of


def figures(scores, labels):
    """Recall@10 and NDCG@10, means over users with a label; ties by position of the brand."""
    has_label = labels.any(axis=1)
    scores, labels = scores[has_label], labels[has_label]
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    hits = np.take_along_axis(labels, ranked, axis=1)
    discounts = 1 / np.log2(np.arange(K) + 2)
    ideal = np.array([discounts[: min(K, int(n))].sum() for n in labels.sum(axis=1)])
    return (hits.sum(axis=1) / labels.sum(axis=1)).mean(), ((hits * discounts).sum(axis=1) / ideal).mean()


def tuned(scores_of, grid, labels):
    """The settings with the best NDCG@10 on the valid users."""
    best = (-1.0, None)
    for settings in grid:
        for found, scores in scores_of(settings):
            best = max(best, (figures(scores, labels)[1], found), key=lambda pair: pair[0])
    return best[1]


def one(scores_of, settings):
    """Scores at one setting; `scores_of` takes lists of what it varies cheaply."""
    (_, scores), = scores_of(settings)
    return scores


def ours(runs):
    report = json.loads((runs / "report/report.json").read_text())
    for experiment in report["experiments"]:
        user = experiment.get("user", {})
        if user.get("recall_at", {}).get(str(K)) is not None:
            yield experiment["name"], user["recall_at"][str(K)], user["ndcg_at"][str(K)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=pathlib.Path, default=DATA / "runs")
    parser.add_argument("--as-of", nargs=3, default=[AS_OF] * 3, metavar=("TRAIN", "VALID", "TEST"))
    args = parser.parse_args()
    holdout = args.runs / "holdout"
    brand_ids = read(holdout / "brands.arrow")["brand_id"].to_pylist()
    brands = {brand: i for i, brand in enumerate(brand_ids)}

    def users(name, date, known=None):
        table = read(holdout / f"{name}.arrow")
        ids = table["user_id"].to_pylist()
        labels = np.zeros((len(ids), len(brands)), bool)
        if name == "features":
            pairs = read(holdout / "train_interactions.arrow")
            labels[pairs["user_row"].to_numpy(), pairs["brand_idx"].to_numpy()] = True
        else:
            for row, of_user in zip(labels, table["brands"].to_pylist()):
                row[of_user] = True
        return Users(ids, baskets_before(date, brands), len(brands), labels)

    train_as_of, valid_as_of, test_as_of = args.as_of
    valid, test = users("valid", valid_as_of), users("test", test_as_of)
    # The histories of training users are known up to the date of those who ask.
    near_valid, near_test = users("features", valid_as_of), users("features", test_as_of)

    rows = [("personal frequency", None, *figures(test.counts(), test.labels))]

    def add(name, method, settings):
        scores = one(method(test, near_test), settings)
        rows.append((name, settings, *figures(scores, test.labels)))

    def listed(settings):
        k, within, between, groups, share = settings
        return [k], within, between, groups, [share]

    def upcf_listed(settings):
        recency, q, asymmetry, k = settings
        return recency, [q], [asymmetry], [k]

    for name, settings in TIFU_PUBLISHED.items():
        add(f"TIFU-KNN, {name}", tifu_scores, listed(settings))
    for name, settings in UPCF_PUBLISHED.items():
        add(f"UP-CF, {name}", upcf_scores, upcf_listed(settings))

    ks, withins, betweens, groups, shares = TIFU_GRID
    grid = [(ks, *rest, shares) for rest in itertools.product(withins, betweens, groups)]
    add("TIFU-KNN, tuned on valid", tifu_scores, listed(tuned(tifu_scores(valid, near_valid), grid, valid.labels)))

    def future(asking, known):
        return tifu_scores(asking, known, future=True)

    best = tuned(future(valid, near_valid), grid, valid.labels)
    add("TIFU-KNN with neighbours' labels, tuned on valid", future, listed(best))
    recencies, qs, asymmetries, ks = UPCF_GRID
    grid = [(recency, qs, asymmetries, ks) for recency in recencies]
    best = tuned(upcf_scores(valid, near_valid), grid, valid.labels)
    add("UP-CF, tuned on valid", upcf_scores, upcf_listed(best))

    rows += [(f"ours: {name}", None, *found) for name, *found in ours(args.runs)]
    for name, settings, recall, ndcg in rows:
        print(f"{name:50} recall@{K} {recall:.4f}  NDCG@{K} {ndcg:.4f}  {settings or ''}")
    out = ROOT / "bench/out/next_basket.json"
    out.parent.mkdir(exist_ok=True)
    written = [dict(zip(("method", "settings", f"recall_at_{K}", f"ndcg_at_{K}"), row)) for row in rows]
    out.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
