"""What all programs of this benchmark share: the stages' files, and the code that judges all networks."""

import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.ipc


def table(path):
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def column_of_lists(column):
    """Offsets and values of a list column."""
    column = column.combine_chunks()
    return column.offsets.to_numpy(), column.values.to_numpy()


def embedding(columns):
    column = columns["embedding"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


class Examples:
    """examples.arrow over features.arrow."""

    def __init__(self, runs, experiment):
        self.features = embedding(table(runs / "holdout/features.arrow"))
        examples = table(runs / experiment / "sample/examples.arrow")
        self.user_row = examples["user_row"].to_numpy().astype(np.int64)
        self.offsets, self.brands = column_of_lists(examples["brands"])
        self.volumes = table(runs / "holdout/brands.arrow")["volume"].to_numpy().astype(np.float64)

    def __len__(self):
        return len(self.user_row)

    def labels(self, row):
        return self.brands[self.offsets[row] : self.offsets[row + 1]]


def our_layers(path):
    """Offsets, scales and layers of a model.arrow."""
    columns = table(path)
    arrays = {
        name: np.array(data, dtype=np.float32).reshape(shape)
        for name, shape, data in zip(*(columns[key].to_pylist() for key in ("name", "shape", "data")))
    }
    n_layers = json.loads(columns.schema.metadata[b"architecture"])["n_layers"]
    layers = [(arrays[f"layers.{i}.weights"], arrays[f"layers.{i}.bias"]) for i in range(n_layers)]
    return arrays["offsets"], arrays["scales"], layers


def logits(network, features):
    offsets, scales, layers = network
    hidden = (features - offsets) * scales
    for i, (weights, bias) in enumerate(layers):
        hidden = hidden @ weights + bias
        if i + 1 < len(layers):
            hidden = np.maximum(hidden, 0)
    return hidden


def valid_macro_f1(network, runs):
    """Macro F1 on the valid users, each brand cut where F1 is best on the other half of them.

    Two-fold: the cut comes from one half and is judged on the other, both ways. So it asks for
    no calibrated probabilities, and no network is judged by a program of its own.
    """
    valid = table(runs / "holdout/valid.arrow")
    features = embedding(valid)
    offsets, brands = column_of_lists(valid["brands"])
    n_users, n_brands = len(features), len(network[2][-1][1])
    is_first = np.arange(n_users) % 2 == 0
    scores = logits(network, features)
    labels = np.zeros((n_users, n_brands), dtype=bool)
    labels[np.repeat(np.arange(n_users), np.diff(offsets)), brands] = True
    f1 = []
    for brand in range(n_brands):
        tp = predicted = positives = 0
        for half in (is_first, ~is_first):
            order = np.argsort(-scores[half, brand], kind="stable")
            hits = np.cumsum(labels[half, brand][order])
            counts = np.arange(1, len(order) + 1)
            best = np.argmax(2 * hits / (counts + hits[-1])) if hits[-1] else 0
            is_predicted = scores[~half, brand] >= scores[half, brand][order][best]
            tp += int((is_predicted & labels[~half, brand]).sum())
            predicted += int(is_predicted.sum())
            positives += int(labels[~half, brand].sum())
        if predicted + positives:
            f1.append(2 * tp / (predicted + positives))
    return float(np.mean(f1))


def write_result(path, **values):
    pathlib.Path(path).write_text(json.dumps(values))
