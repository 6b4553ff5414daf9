"""Holds docs/TABLES.md and docs/PYTHON.md to what the programs write.

Runs the pages' own code on the demo's results, then compares with `scores.arrow`: a network's
probabilities by numpy with the stored ones, and decisions. A tiny data set with lists of ids has a
model of each other kind. Every file's columns must be on the page.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import numpy as np
import pyarrow as pa

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/TABLES.md").read_text()
# Experiments on tests/fixtures/tiny: lists of ids, an own history, an average, and no network.
TINY = """\
  lists: {train: {features: [embedding, age, past]}}
  own: {train: {features: [age, past], own_history: past, members: 2}, score: {calibration: isotonic}}
  linear: {train: {hidden: [], features: [past]}, score: {calibration: platt}}
"""


def read(path):
    return pa.ipc.open_file(path).read_all()


class Model:
    """A model.arrow of any kind: users in, logits out."""

    def __init__(self, path):
        table = read(path)
        self.arrays = {
            row["name"]: np.array(row["data"], np.float32).reshape(row["shape"])
            for row in table.to_pylist()
        }
        self.layout = json.loads(table.schema.metadata[b"architecture"])
        sparse = [f for f in self.layout["features"] if "sparse" in f["kind"]]
        self.lists = [(f["name"], f["kind"]["sparse"]["is_weighted"]) for f in sparse]
        self.dense = [f["name"] for f in self.layout["features"] if "dense" in f["kind"]]

    def bags(self, users, i):
        """For each user the rows of feature list `i` with their weights; ids without a row are left out."""
        name, is_weighted = self.lists[i]
        ids = self.arrays.get(f"bags.{i}.ids")
        weights = users[f"{name}_weights"].to_pylist() if is_weighted else None
        for user, of_user in enumerate(users[name].to_pylist()):
            rows = np.array(of_user, int)
            factors = np.array(weights[user] if is_weighted else np.ones(len(rows)), np.float32)
            if ids is not None:
                places = np.searchsorted(ids, rows)
                known = places < len(ids)
                known[known] = ids[places[known]] == rows[known]
                rows, factors = places[known], factors[known]
            yield rows, factors

    def logits(self, users):
        arrays, n_users = self.arrays, users.num_rows
        if self.layout["kind"] != "mlp":
            return self.prior_logits(users)
        parts = [np.stack(users[name].to_pylist()).reshape(n_users, -1) for name in self.dense]
        x = np.concatenate(parts, axis=1, dtype=np.float32) if parts else np.zeros((n_users, 0), np.float32)
        x = (x - arrays["offsets"]) * arrays["scales"]
        for layer in range(self.layout["n_layers"]):
            x = x @ arrays[f"layers.{layer}.weights"] + arrays[f"layers.{layer}.bias"]
            if layer == 0:
                for i in range(len(self.lists)):
                    weights = arrays[f"bags.{i}"]
                    is_log = i in self.layout.get("log_bags", [])
                    for user, (rows, factors) in enumerate(self.bags(users, i)):
                        if is_log:
                            factors = np.copysign(np.log2(1 + np.abs(factors)), factors)
                        is_row = rows < len(weights)
                        x[user] += factors[is_row] @ weights[rows[is_row]]
            if layer + 1 < self.layout["n_layers"]:
                x = np.maximum(x, 0)
        for channel, list_number in enumerate(self.channels()):
            self.add_channel(users, x, channel, list_number)
        return x

    def channels(self):
        """For each channel of the history the number of its list."""
        first = self.layout.get("own_history")
        return [] if first is None else [first, *self.layout.get("own_history_more", [])]

    def add_channel(self, users, logits, channel, list_number):
        name = f"own_history.{channel}" if channel else "own_history"
        own, common, knots = (self.arrays[f"{name}.{part}"] for part in ("own", "common", "knots"))
        for user, (brands, factors) in enumerate(self.bags(users, list_number)):
            t = np.log1p(np.maximum(factors, 0))
            terms = np.stack([np.ones_like(t), t, *(np.maximum(t - knot, 0) for knot in knots)])
            n_own = own.shape[1]
            terms = terms[2 - n_own :]  # without a level, the first term is t
            logits[user, brands] += common @ terms + (own[brands].T * terms[:n_own]).sum(axis=0)

    def prior_logits(self, users):
        prior = self.arrays["prior"]
        logits = np.tile(prior, (users.num_rows, 1))
        if self.layout["kind"] == "persistence":
            logits = logits / 4 - 7
            for user, (brands, _) in enumerate(self.bags(users, 0)):
                logits[user, brands] += 14
        return logits


def move_history(model, users, logits, thresholds):
    """Logits of brands in a user's own history go through a line of the brand first."""
    if not model.channels():
        return
    slopes, intercepts = (thresholds[f"history_{name}"].to_numpy() for name in ("slope", "intercept"))
    lists = zip(*(model.bags(users, number) for number in model.channels()))
    for user, of_channels in enumerate(lists):
        had = np.unique(np.concatenate([brands for brands, _ in of_channels]))
        logits[user, had] = logits[user, had] * slopes[had] + intercepts[had]


def probabilities(logits, thresholds):
    """What calibration makes of logits."""
    slopes, intercepts = thresholds["slope"].to_numpy(), thresholds["intercept"].to_numpy()
    probs = 1 / (1 + np.exp(-(logits * slopes + intercepts)))
    knots = zip(thresholds["knot_logits"].to_pylist(), thresholds["knot_probs"].to_pylist())
    for brand, (x, y) in enumerate(knots):
        if x:
            probs[:, brand] = np.interp(logits[:, brand], x, y)
    return probs


def check(experiment, users):
    """Compares an experiment's stored probabilities and decisions with those by numpy.

    Returns how far the probabilities are apart at most.
    """
    model = Model(experiment / "train/model.arrow")
    thresholds, scores = read(experiment / "score/thresholds.arrow"), read(experiment / "score/scores.arrow")
    assert thresholds["memory_weight"].to_numpy().max() == 0, "neighbours are not in the page's code"
    logits = model.logits(users)
    move_history(model, users, logits, thresholds)
    probs = probabilities(logits, thresholds)
    top, stored = np.array(scores["top_brands"].to_pylist()), np.array(scores["top_probs"].to_pylist())
    apart = np.abs(np.take_along_axis(probs, top, axis=1) - stored).max()
    assert apart < 1e-5, f"{experiment.name}: probabilities are {apart} apart"
    # Brands that are not among a user's best have no higher probability than the last of them.
    assert (np.sort(probs, axis=1)[:, -top.shape[1]] <= stored[:, -1] + 1e-5).all()
    if b"decision" not in thresholds.schema.metadata:  # a threshold for each brand is all
        distance = probs - thresholds["threshold"].to_numpy()
        predicted = np.zeros(probs.shape, bool)
        for user, brands in enumerate(scores["predicted"].to_pylist()):
            predicted[user, brands] = True
        assert ((distance >= 0) == predicted)[np.abs(distance) > 1e-5].all(), experiment.name
    return apart


def check_columns(runs):
    """Every column of every table is named in the file's row on the page, or is a feature or a raw column."""
    rows = dict(re.findall(r"^\| `([a-z_]+\.arrow)` \| .*? \| (.*) \|$", PAGE, re.M))
    free = {"features.arrow", "train_users.arrow", "valid.arrow", "test.arrow"}
    for path in sorted(runs.glob("[!.]*/**/*.arrow")):
        told = re.findall(r"`([a-z0-9_]+)`", rows[path.name].split("; metadata")[0])
        columns = read(path).schema.names
        missing = [name for name in told if name not in columns]
        more = [name for name in columns if name not in told and path.name not in free]
        assert not more, f"docs/TABLES.md, {path.name}: does not tell of {more}"
        assert not missing, f"docs/TABLES.md, {path.name}: {path} has no {missing}"


def run_page(page, folder):
    """Runs a page's blocks of Python one after the other, in a folder that holds `runs`; what they name."""
    os.chdir(folder)
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S):
        exec(compile(block, page, "exec"), names)
    return names


def check_python_page(names, folder):
    """The page's curve passes through the report's figures, and its audience is the program's."""
    decided, curve = names["decided"], names["curve"]
    if decided["precision"] is not None:
        at = curve.filter(curve["hits"] == decided["tp"])
        assert any(abs(at["predicted"] - decided["tp"] - decided["fp"]) <= 0), "the curve misses the decision"
    command = ["pipeline", "audience", names["experiment"], str(names["brand"]["brand_id"]), "--size", "200",
               "--users", "runs/holdout/test.arrow", "--output", "audience.parquet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    theirs = names["pl"].read_parquet("audience.parquet")
    assert abs(theirs["prob"] - names["audience"]["prob"]).max() < 1e-6
    for name in ("audience.parquet", "audience.csv", "all_probabilities.parquet", "precision_recall.png"):
        (folder / name).unlink()


def run_tiny(programs, work):
    for path in (ROOT / "tests/fixtures/tiny").iterdir():
        shutil.copy(path, work)
    shutil.copy(ROOT / "sample-stage/sql/everyone.sql", work)
    with (work / "pipeline.yaml").open("a") as manifest:
        manifest.write(TINY)
    subprocess.run([programs / "pipeline", "run", "-q"], cwd=work, check=True, stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--experiments", nargs="+", default=["bau", "approach_5_expected_f1"])
    args = parser.parse_args()
    check_columns(ROOT / "runs")
    users = read(ROOT / "runs/holdout/test.arrow")
    for name in args.experiments:
        apart = check(ROOT / "runs" / name, users)
        print(f"demo {name}: probabilities within {apart:.1e} of the stored ones")
    os.environ["PATH"] = f"{args.programs.resolve()}:{os.environ['PATH']}"
    os.environ["MPLBACKEND"] = "agg"
    run_page("docs/TABLES.md", ROOT)
    check_python_page(run_page("docs/PYTHON.md", ROOT), ROOT)
    with tempfile.TemporaryDirectory() as work:
        run_tiny(args.programs.resolve(), pathlib.Path(work))
        runs = pathlib.Path(work) / "runs"
        check_columns(runs)
        users = read(runs / "holdout/test.arrow")
        for path in sorted(runs.glob("*/score/scores.arrow")):
            apart = check(path.parent.parent, users)
            print(f"tiny {path.parent.parent.name}: probabilities within {apart:.1e} of the stored ones")


if __name__ == "__main__":
    main()
