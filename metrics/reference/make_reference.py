"""Writes the reference values that the tests of `metrics` compare against.

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make_reference.py

Writes, beside itself: `users.csv` (labels, decisions and ranked brands of 40 users over
6 brands), `histogram.csv` (3,000 users of one brand by bin of the logit) and `values.csv`
(what scikit-learn and numpy make of the two).
"""

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    ndcg_score,
    precision_score,
    recall_score,
)

HERE = Path(__file__).parent
N_USERS, N_BRANDS = 40, 6
N_BINS, LOGIT_MIN, LOGIT_MAX = 1024, -14.0, 14.0
rng = np.random.default_rng(7)


def write(name, header, rows):
    lines = [header, *(",".join(str(cell) for cell in row) for row in rows)]
    (HERE / name).write_text("\n".join(lines) + "\n")


def ids(mask):
    return " ".join(str(i) for i in np.flatnonzero(mask))


# Brands from common to rare; every brand has a label, some users have none.
prevalence = np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0.05])
y_true = rng.random((N_USERS, N_BRANDS)) < prevalence
scores = rng.normal(size=y_true.shape) + 1.5 * y_true
y_pred = scores > 0.8
ranked = np.argsort(-scores, axis=1)
assert y_true.any(axis=0).all() and y_pred.any(axis=0).all()
has_label = y_true.any(axis=1)
assert 0 < has_label.sum() < N_USERS
write(
    "users.csv",
    "labels,predicted,ranked",
    [(ids(t), ids(p), " ".join(map(str, r))) for t, p, r in zip(y_true, y_pred, ranked)],
)

# One brand: logits too sharp (true slope 0.7) and too low (true intercept 0.5).
logits = np.clip(rng.normal(-2.0, 2.0, 3000), -13.9, 13.9)
is_positive = rng.random(3000) < 1 / (1 + np.exp(-(0.7 * logits + 0.5)))
width = (LOGIT_MAX - LOGIT_MIN) / N_BINS
bins = np.floor((logits - LOGIT_MIN) / width).astype(int)
centres = LOGIT_MIN + (bins + 0.5) * width
positives = np.bincount(bins[is_positive], minlength=N_BINS)
negatives = np.bincount(bins[~is_positive], minlength=N_BINS)
write(
    "histogram.csv",
    "bin,positives,negatives",
    [(b, positives[b], negatives[b]) for b in range(N_BINS) if positives[b] + negatives[b]],
)

platt = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000)
platt.fit(centres[:, None], is_positive)
at_zero = centres >= 0.0

labelled = y_true[has_label]
values = {
    "macro_f1": f1_score(y_true, y_pred, average="macro"),
    "micro_f1": f1_score(y_true, y_pred, average="micro"),
    "user_f1": f1_score(labelled, y_pred[has_label], average="samples", zero_division=0),
    "precision_0": precision_score(y_true[:, 0], y_pred[:, 0]),
    "recall_0": recall_score(y_true[:, 0], y_pred[:, 0]),
    "ndcg_at_3": ndcg_score(labelled, scores[has_label], k=3),
    "ndcg_at_6": ndcg_score(labelled, scores[has_label], k=6),
    "average_precision": average_precision_score(is_positive, centres),
    "f1_at_logit_0": f1_score(is_positive, at_zero),
    "platt_slope": platt.coef_[0, 0],
    "platt_intercept": platt.intercept_[0],
    "percentile_2.5": np.percentile(np.sqrt(np.arange(50)), 2.5),
    "percentile_97.5": np.percentile(np.sqrt(np.arange(50)), 97.5),
}
write("values.csv", "name,value", [(name, repr(float(v))) for name, v in values.items()])
