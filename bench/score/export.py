"""Exported models against our own predictions, on 1,000 users of a made-up data set.

The users have a vector, a number, a weighted list of ids and a list of past brands. Of experiments with and
without hidden layers, own history, averages, every calibration and the models that learn nothing: the
probabilities of `pipeline predict` against those of the ONNX file in onnxruntime and, with `--tract`, in
tract; the arrays of the safetensors file against `model.arrow`. All must agree within 1e-5. Leaves
bench/out/export.json.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = ROOT / "target/release"
N_USERS, N_NEW, N_BRANDS = 12_000, 1_000, 60
MANIFEST = """\
version: 1
run_dir: runs
data:
  tables: {users: users.parquet, interactions: interactions.parquet, brands: brands.parquet}
  users: {table: users}
  interactions: {table: interactions}
  brands: {table: brands}
  features:
    - vector
    - age
    - {column: tags, weights: tag_weights}
    - {column: past, ids: brands, weights: past_counts}
    - {column: since, ids: brands, weights: since_days}
holdout: {valid: 0.3, test: 0.1, seed: 7}
stages:
  sample: {sql: everyone.sql}
  train: {hidden: [32, 16], loss: {kind: bce}, epochs: 6, batch_size: 256, learning_rate: 0.005}
  score: {calibration: platt, decision: {policy: expected_f1}}
  report: {bootstrap_draws: 200}
baseline: dense
experiments:
  dense: {train: {features: [vector, age]}}
  uncalibrated: {train: {features: [vector]}, score: {calibration: none, decision: {policy: fixed, threshold: 0.3}}}
  lists: {train: {features: [vector, tags]}}
  own: {train: {own_history: past, members: 2}}
  channels: {train: {features: [vector, past, since], own_history: [past, since], members: 2}}
  isotonic: {train: {own_history: past}, score: {calibration: isotonic}}
  linear: {train: {hidden: [], features: [past], own_history: past}}
  gain: {train: {features: [vector, past]}, score: {decision: {policy: gain}}}
  popularity: {train: {model: popularity}}
  persistence: {train: {model: persistence, history: past}}
"""


def make_users(rng, n, first):
    """Users with what they have now: a table, and pairs (row, brand)."""
    vector = rng.standard_normal((n, 6)).astype(np.float32)
    age = rng.integers(18, 80, n)
    tags = [np.unique(rng.integers(0, 40, rng.integers(0, 6))) * 1_000 + 7 for _ in range(n)]
    popularity = 0.4 / (1 + np.arange(N_BRANDS) / 4)
    taste = np.random.default_rng(1).standard_normal((6, N_BRANDS)) * 0.8
    logits = np.log(popularity / (1 - popularity)) + vector @ taste
    past = rng.random((n, N_BRANDS)) < 1 / (1 + np.exp(-logits + 1))
    now = rng.random((n, N_BRANDS)) < 1 / (1 + np.exp(-logits - 1.5 * past))
    past = [np.flatnonzero(row) for row in past]
    table = pa.table({
        "user_id": [f"u{first + i}" for i in range(n)],
        "vector": list(vector), "age": age,
        "tags": [list(map(int, row)) for row in tags],
        "tag_weights": [list(rng.random(len(row))) for row in tags],
        "past": [[f"b{brand}" for brand in row] for row in past],
        "past_counts": [list(map(float, rng.integers(1, 9, len(row)))) for row in past],
        "since": [[f"b{brand}" for brand in row[1:]] for row in past],
        "since_days": [list(map(float, rng.integers(1, 99, len(row[1:])))) for row in past],
    })
    return table, np.argwhere(now)


def make(folder):
    rng = np.random.default_rng(7)
    users, pairs = make_users(rng, N_USERS, 0)
    pq.write_table(users, folder / "users.parquet")
    columns = {"user_id": [f"u{i}" for i in pairs[:, 0]], "brand_id": [f"b{b}" for b in pairs[:, 1]]}
    pq.write_table(pa.table(columns), folder / "interactions.parquet")
    ids = [f"b{b}" for b in range(N_BRANDS)]
    pq.write_table(pa.table({"brand_id": ids, "name": ids}), folder / "brands.parquet")
    pq.write_table(make_users(rng, N_NEW, N_USERS)[0], folder / "new.parquet")
    (folder / "pipeline.yaml").write_text(MANIFEST)
    shutil.copy(ROOT / "sample-stage/sql/everyone.sql", folder)


def padded(lists, dtype, fill):
    array = np.full((len(lists), max(1, max(map(len, lists)))), fill, dtype)
    for row, values in zip(array, lists):
        row[: len(values)] = values
    return array


def inputs(session, users, brand_ids):
    """The arrays that a graph reads, of a table of users."""
    weights = {"tags_weights": "tag_weights", "past_weights": "past_counts", "since_weights": "since_days"}
    position = {brand: i for i, brand in enumerate(brand_ids)}
    made = {}
    for name in (one.name for one in session.get_inputs()):
        column = users[weights.get(name, name)].to_pylist()
        if name in ("past", "since"):
            column = [[position.get(brand, -1) for brand in row] for row in column]
        if name in ("tags", "past", "since"):
            made[name] = padded(column, np.int64, -1)
        elif name in weights:
            made[name] = padded(column, np.float32, 0)
        else:
            made[name] = np.array(column, np.float32).reshape(len(column), -1)
    return made


def by_tract(program, onnx, arrays, shape, folder):
    inputs_dir = folder / "inputs"
    shutil.rmtree(inputs_dir, ignore_errors=True)
    inputs_dir.mkdir()
    for name, array in arrays.items():
        kind = "f32" if array.dtype == np.float32 else "i64"
        path = inputs_dir / f"{name}.{kind}"
        path.write_bytes(np.array(array.shape, np.uint64).tobytes() + array.tobytes())
    subprocess.run([program, onnx, inputs_dir, folder / "probs.f32"], check=True)
    return np.fromfile(folder / "probs.f32", np.float32).reshape(shape)


def ours(folder, experiment, brand_ids):
    """Probabilities and decisions of `pipeline predict`, `(users, brands)`."""
    command = [BIN / "pipeline", "predict", experiment, "--users", "new.parquet", "--output", "p.parquet"]
    subprocess.run([*command, "--top-k", str(N_BRANDS)], cwd=folder, check=True, capture_output=True)
    rows = pq.read_table(folder / "p.parquet")
    position = {brand: i for i, brand in enumerate(brand_ids)}
    user = np.array([int(text[1:]) - N_USERS for text in rows["user_id"].to_pylist()])
    brand = np.array([position[text] for text in rows["brand_id"].to_pylist()])
    probs, predicted = np.zeros((2, N_NEW, len(brand_ids)))
    probs[user, brand] = rows["prob"].to_numpy()
    predicted[user, brand] = rows["is_predicted"].to_numpy(zero_copy_only=False)
    return probs, predicted.astype(bool)


def check_safetensors(folder, experiment):
    file = folder / "model.safetensors"
    command = [BIN / "pipeline", "export", experiment, "--format", "safetensors", "--output", file]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    found = safetensors.numpy.load_file(file)
    model = pa.ipc.open_file(folder / f"runs/{experiment}/train/model.arrow").read_all()
    for row in model.to_pylist():
        expected = np.array(row["data"], np.float32).reshape(row["shape"])
        assert np.array_equal(found[row["name"]], expected), row["name"]
    thresholds = pa.ipc.open_file(folder / f"runs/{experiment}/score/thresholds.arrow").read_all()
    for name in ("slope", "intercept", "threshold", "history_slope", "history_intercept"):
        assert np.array_equal(found[f"thresholds.{name}"], thresholds[name].to_numpy()), name


def check(folder, experiment, tract):
    file = folder / "model.onnx"
    command = [BIN / "pipeline", "export", experiment, "--format", "onnx", "--output", file]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    session = onnxruntime.InferenceSession(file)
    brand_ids = json.loads(session.get_modelmeta().custom_metadata_map["brand_ids"])
    arrays = inputs(session, pq.read_table(folder / "new.parquet"), brand_ids)
    results = dict(zip((one.name for one in session.get_outputs()), session.run(None, arrays)))
    probs, predicted = ours(folder, experiment, brand_ids)
    row = {"experiment": experiment, "onnxruntime": float(np.abs(results["probs"] - probs).max())}
    if "predicted" in results:
        row["decisions_apart"] = int((results["predicted"] != predicted).sum())
    if tract:
        found = by_tract(tract, file, arrays, results["probs"].shape, folder)
        row["tract"] = float(np.abs(found - probs).max())
    check_safetensors(folder, experiment)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tract", type=pathlib.Path, help="the program of bench/onnx")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        make(folder)
        subprocess.run([BIN / "pipeline", "run", "-q"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        names = [line.split(":")[0].strip() for line in MANIFEST.split("experiments:\n")[1].splitlines()]
        rows = [check(folder, name, args.tract and args.tract.resolve()) for name in names]
    print(json.dumps(rows, indent=2))
    out = ROOT / "bench/out/export.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(rows, indent=2) + "\n")
    apart = max(row[runtime] for row in rows for runtime in ("onnxruntime", "tract") if runtime in row)
    if apart > 1e-5 or any(row.get("decisions_apart", 0) > 2 for row in rows):
        sys.exit("an exported model does not do what ours does")


if __name__ == "__main__":
    main()
