"""The same predictions by PyTorch and numpy: the rival of against_torch.py, in a process of its own.

Reads users, scores them with the weights of `model.arrow`, calibrates, and writes of each user the brands
that reach their threshold and the most probable ones, with probabilities, batch by batch to one Arrow file.
"""

import argparse
import json
import pathlib
import queue
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch


def read(path):
    return pa.ipc.open_file(path).read_all()


class Network(torch.nn.Module):
    """The network of docs/TABLES.md, with the calibration as a last, elementwise layer."""

    def __init__(self, model, thresholds):
        super().__init__()
        table = read(model)
        arrays = {r["name"]: np.array(r["data"], np.float32).reshape(r["shape"]) for r in table.to_pylist()}
        layout = json.loads(table.schema.metadata[b"architecture"])
        for name in ("offsets", "scales"):
            self.register_buffer(name, torch.tensor(arrays[name]))
        layers = []
        for i in range(layout["n_layers"]):
            weights = arrays[f"layers.{i}.weights"]
            linear = torch.nn.Linear(*weights.shape)
            linear.weight.data = torch.tensor(weights.T.copy())
            linear.bias.data = torch.tensor(arrays[f"layers.{i}.bias"])
            layers += [linear] if i + 1 == layout["n_layers"] else [linear, torch.nn.ReLU()]
        self.layers = torch.nn.Sequential(*layers)
        for name in ("slope", "intercept"):
            self.register_buffer(name, torch.tensor(thresholds[name].to_numpy().astype(np.float32)))

    def forward(self, x):
        return torch.sigmoid(self.layers((x - self.offsets) * self.scales) * self.slope + self.intercept)


def lists(counts, values):
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def decide(network, x, thresholds, top_k):
    """The columns of a batch of users."""
    probs = network(torch.from_numpy(x))
    best = torch.topk(probs, top_k)
    probs = probs.numpy()
    users, brands = np.nonzero(probs >= thresholds)
    counts = np.bincount(users, minlength=len(x))
    n = np.full(len(x), top_k)
    return [
        lists(counts, brands.astype(np.uint32)),
        lists(n, best.indices.numpy().astype(np.uint32).ravel()),
        lists(n, best.values.numpy().ravel()),
        lists(counts, probs[users, brands]),
    ]


def batches(path, size, waiting=4):
    """Batches of users, read by a thread of their own."""
    read_ahead = queue.Queue(waiting)

    def read_all():
        for batch in pq.ParquetFile(path).iter_batches(size):
            values = batch["embedding"].values.to_numpy(zero_copy_only=False)
            x = values.astype(np.float32, copy=False).reshape(batch.num_rows, -1)
            read_ahead.put((batch["user_id"], x))
        read_ahead.put(None)

    threading.Thread(target=read_all, daemon=True).start()
    return iter(read_ahead.get, None)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("users", type=pathlib.Path)
    parser.add_argument("experiment", type=pathlib.Path, help="its folder")
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--top-k", type=int, default=20)
    args = parser.parse_args()
    table = read(args.experiment / "score/thresholds.arrow")
    network = Network(args.experiment / "train/model.arrow", table).eval()
    if args.compile:
        network = torch.compile(network)
    thresholds = table["threshold"].to_numpy().astype(np.float32)
    writer = None
    names = ["user_id", "predicted", "top_brands", "top_probs", "predicted_probs"]
    with torch.inference_mode():
        for ids, x in batches(args.users, args.batch):
            columns = [ids, *decide(network, x, thresholds, args.top_k)]
            rows = pa.RecordBatch.from_arrays(columns, names)
            writer = writer or pa.ipc.new_file(str(args.output), rows.schema)
            writer.write_batch(rows)
    writer.close()


if __name__ == "__main__":
    main()
