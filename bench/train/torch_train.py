"""The rival: the same network trained by PyTorch, as people write it (`plain`) or at its best.

plain: a Dataset of rows with a dense vector of labels, a DataLoader, the loss written out, AdamW.
best: batches gathered as a whole, labels scattered from lists, the step compiled, AdamW fused.
Both: the same first weights' distribution, batch, schedule and loss as train-stage.
"""

import argparse
import itertools
import math
import pathlib
import time

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from data import Examples, valid_macro_f1, write_result

WARM_UP_UPDATES = 5


def loss_of(name):
    def bce(logits, y):
        return binary_cross_entropy_with_logits(logits, y, reduction="none").sum(dim=1).mean()

    def bfce(logits, y):
        nll = binary_cross_entropy_with_logits(logits, y, reduction="none")
        p = torch.sigmoid(logits)
        wrong = y * (1 - p) + (1 - y) * p
        return (wrong**2 * nll).sum(dim=1).mean()

    return {"bce": bce, "bfce": bfce}[name]


def network(n_in, hidden, examples):
    """He et al. 2015; the output layer near zero, its biases at the prior."""
    layers = []
    for width in hidden:
        layer = nn.Linear(n_in, width)
        nn.init.normal_(layer.weight, std=math.sqrt(2 / n_in))
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
        n_in = width
    output = nn.Linear(n_in, len(examples.volumes))
    nn.init.normal_(output.weight, std=0.1 * math.sqrt(2 / n_in))
    prevalence = (examples.volumes + 0.5) / (len(examples.features) + 1)
    output.bias.data = torch.tensor(np.log(prevalence / (1 - prevalence)), dtype=torch.float32)
    return nn.Sequential(*layers, output)


class Rows(torch.utils.data.Dataset):
    def __init__(self, features, examples):
        self.features, self.examples = features, examples

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, row):
        y = torch.zeros(len(self.examples.volumes))
        y[torch.from_numpy(self.examples.labels(row).astype(np.int64))] = 1
        return self.features[self.examples.user_row[row]], y


def plain_batches(features, examples, batch_size):
    loader = torch.utils.data.DataLoader(Rows(features, examples), batch_size, shuffle=True)
    while True:
        yield from loader


def whole_batches(features, examples, batch_size):
    user_row = torch.from_numpy(examples.user_row)
    offsets = torch.from_numpy(examples.offsets.astype(np.int64))
    brands = torch.from_numpy(examples.brands.astype(np.int64))
    n_labels = offsets[1:] - offsets[:-1]
    y = torch.zeros(batch_size, len(examples.volumes))
    while True:
        order = torch.randperm(len(examples))
        # A partial batch would be compiled for once more.
        for rows in order[: len(order) // batch_size * batch_size].split(batch_size):
            counts = n_labels[rows]
            first = torch.repeat_interleave(offsets[rows] - counts.cumsum(0) + counts, counts)
            labels = brands[first + torch.arange(len(first))]
            y.zero_()
            y[torch.repeat_interleave(torch.arange(batch_size), counts), labels] = 1
            yield features.index_select(0, user_row[rows]), y


def rate_of(updates):
    """The learning rate's share at an update: warm-up, then cosine."""
    n_warm = math.ceil(0.05 * updates)

    def rate(update):
        if update < n_warm:
            return (update + 1) / n_warm
        return 0.5 * (1 + math.cos(math.pi * (update - n_warm) / (updates - n_warm)))

    return rate


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=pathlib.Path)
    parser.add_argument("mode", choices=["plain", "best"])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--hidden", type=int, nargs="+", required=True)
    parser.add_argument("--loss", required=True)
    parser.add_argument("--updates", type=int, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=1024)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    examples = Examples(args.runs, "all")
    offsets, scales = examples.features.mean(axis=0), 1 / examples.features.std(axis=0)
    features = torch.from_numpy((examples.features - offsets) * scales)
    model = network(features.shape[1], args.hidden, examples)
    is_best = args.mode == "best"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0, fused=is_best)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_of(args.updates))
    loss_function = loss_of(args.loss)

    def forward_backward(x, y):
        loss = loss_function(model(x), y)
        loss.backward()
        return loss

    step = torch.compile(forward_backward) if is_best else forward_backward
    batches = (whole_batches if is_best else plain_batches)(features, examples, args.batch_size)
    n_rows, started = 0, None
    for update, (x, y) in enumerate(itertools.islice(batches, args.updates)):
        # The first updates compile and grow memory: not timed.
        if update == min(WARM_UP_UPDATES, args.updates - 1):
            n_rows, started = 0, time.monotonic()
        optimizer.zero_grad(set_to_none=not is_best)
        step(x, y)
        optimizer.step()
        schedule.step()
        n_rows += len(x)
    rows_per_s = n_rows / (time.monotonic() - started)
    macro_f1 = None
    if is_best:
        linear = [layer for layer in model if isinstance(layer, nn.Linear)]
        layers = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in linear]
        macro_f1 = valid_macro_f1((offsets, scales, layers), args.runs)
    write_result(args.output, rows_per_s=rows_per_s, macro_f1=macro_f1)


if __name__ == "__main__":
    main()
