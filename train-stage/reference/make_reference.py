"""Writes reference.json: losses, gradients and AdamW updates as PyTorch computes them.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make_reference.py

Everything is float64. Inputs are multiples of 1/64, so float32 holds them exactly.
Read by tests/pytorch.rs.
"""

import json
import pathlib

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

torch.set_default_dtype(torch.float64)

# What a manifest's `train` may say about the loss.
BCE = {"loss": {"kind": "bce"}}
BFCE_2 = {"loss": {"kind": "bfce", "gamma": 2.0}}
BFCE_1_5 = {"loss": {"kind": "bfce", "gamma": 1.5}}
BFCE_ALPHA = {"loss": {"kind": "bfce", "gamma": 2.0, "alpha": 0.75}}
MSE = {"loss": {"kind": "mse"}}
MSE_POSITIVES = MSE | {"brand_weights": {"power": 1.0, "on": "positives"}}
MSE_BOTH = MSE | {"brand_weights": {"power": 1.0, "scale": 2.0, "on": "both"}}
BCE_SYMMETRIC = BCE | {"brand_weights": {"power": 0.5, "on": "both"}}
BFCE_WEIGHTED = BFCE_ALPHA | {"brand_weights": {"power": 0.5, "on": "both"}}
ASL = {"loss": {"kind": "asl", "gamma_positive": 0.0, "gamma_negative": 4.0, "clip": 0.0625}}
ASL_FOCAL = {"loss": {"kind": "asl", "gamma_positive": 1.0, "gamma_negative": 2.5, "clip": 0.0}}
LOGIT_ADJUSTED = {"loss": {"kind": "logit_adjusted", "tau": 1.0}}
SOFT_F1 = BCE | {"soft_f1": 0.5}
EVERY_LOSS = [
    BCE,
    BFCE_2,
    BFCE_1_5,
    BFCE_ALPHA,
    MSE,
    MSE_POSITIVES,
    MSE_BOTH,
    BCE_SYMMETRIC,
    BFCE_WEIGHTED,
    ASL,
    ASL_FOCAL,
    LOGIT_ADJUSTED,
    SOFT_F1,
]


def cells(loss, logits, y):
    """Loss of each (user, brand) cell."""
    if loss["kind"] in ("bce", "logit_adjusted"):
        return binary_cross_entropy_with_logits(logits, y, reduction="none")
    if loss["kind"] == "mse":
        return (torch.sigmoid(logits) - y) ** 2
    if loss["kind"] == "asl":
        # Ridnik et al. 2021, equations 5 to 7.
        p = torch.sigmoid(logits)
        shifted = torch.clamp(p - loss["clip"], min=0)
        # 1 - shifted without the cancellation of 1 - p.
        rest = torch.where(p > loss["clip"], torch.sigmoid(-logits) + loss["clip"], torch.ones_like(p))
        positive = -torch.exp(loss["gamma_positive"] * logsigmoid(-logits)) * logsigmoid(logits)
        negative = -(shifted ** loss["gamma_negative"]) * torch.log(rest)
        return torch.where(y == 1, positive, negative)
    # Lin et al. 2017, equation 5: -alpha_t (1 - p_t)^gamma ln p_t, with p_t the chance of what is true.
    toward_truth = torch.where(y == 1, logits, -logits)
    focal = -torch.exp(loss["gamma"] * logsigmoid(-toward_truth)) * logsigmoid(toward_truth)
    if "alpha" not in loss:
        return focal
    return focal * torch.where(y == 1, loss["alpha"], 1 - loss["alpha"])


def brand_factors(params, y, volumes):
    """Factor of each cell by its brand's volume."""
    if "brand_weights" not in params:
        return torch.ones_like(y)
    weights = params["brand_weights"]
    powers = torch.tensor(volumes, dtype=y.dtype) ** -weights["power"]
    factors = weights.get("scale", 1.0) * powers / powers.mean()
    return torch.where(y == 1, factors, torch.ones_like(y) if weights["on"] == "positives" else factors)


def mean_loss(params, logits, labels, volumes, n_users):
    """Mean over users of weight * sum over the brands that are not ignored, and the soft F1 term."""
    loss = params["loss"]
    y = torch.zeros_like(logits)
    counts = torch.ones_like(logits)
    for user, (brands, ignored) in enumerate(zip(labels["brands"], labels["ignored"])):
        y[user, brands] = 1
        counts[user, ignored] = 0
    weights = torch.tensor(labels["weights"])
    adjusted = logits
    if loss["kind"] == "logit_adjusted":
        prevalence = (torch.tensor(volumes, dtype=logits.dtype) + 0.5) / (n_users + 1)
        adjusted = logits + loss["tau"] * torch.log(prevalence / (1 - prevalence))
    cell_losses = cells(loss, adjusted, y) * brand_factors(params, y, volumes)
    value = (weights * (cell_losses * counts).sum(dim=1)).mean()
    if "soft_f1" in params:
        p = torch.sigmoid(logits)
        weighted = weights[:, None] * counts
        is_there = (weighted * y).sum(dim=0) > 0
        soft_f1 = 2 * (weighted * y * p).sum(dim=0) / (weighted * (y + p)).sum(dim=0)
        value = value + params["soft_f1"] * (1 - soft_f1)[is_there].sum()
    return value


def grid(generator, *shape, scale=1.0):
    """Random multiples of 1/64 with about this standard deviation."""
    return torch.round(torch.randn(*shape, generator=generator) * scale * 64) / 64


def loss_reference():
    generator = torch.Generator().manual_seed(1)
    logits = grid(generator, 5, 17, scale=3.0)
    # Each extreme once with the label and once without.
    logits[0, :8] = torch.tensor([0.0, 0.0, 30.0, 30.0, -30.0, -30.0, 7.5, -7.5])
    logits[1, :4] = torch.tensor([120.0, 120.0, -120.0, -120.0])
    labels = {
        "brands": [[0, 2, 4, 11], [0, 2, 9], [], [3, 5, 7, 16], list(range(17))],
        # User 1 has brand 9, and it is ignored; so is brand 10, which the user does not have.
        "ignored": [[], [9, 10], [0, 8], [1, 3, 5], [16]],
        "weights": [1.0, 0.25, 2.5, 0.625, 1.5],
    }
    # Powers of two and others, from a brand of every user to one of a single user.
    volumes, n_users = [1000, 640, 500, 256, 200, 128, 100, 64, 50, 32, 20, 16, 10, 8, 4, 2, 1], 1000
    cases = []
    for params in EVERY_LOSS:
        z = logits.clone().requires_grad_()
        value = mean_loss(params, z, labels, volumes, n_users)
        value.backward()
        cases.append({"params": params, "value": value.item(), "gradient": z.grad.tolist()})
    return {
        "logits": logits.tolist(),
        "labels": labels,
        "volumes": volumes,
        "n_users": n_users,
        "cases": cases,
    }


def training_reference():
    """Full-batch updates of a network with dense inputs and one weighted list of ids."""
    generator = torch.Generator().manual_seed(2)
    n_users, n_dense, n_ids, n_hidden, n_brands = 6, 3, 4, 5, 4
    dense = grid(generator, n_users, n_dense)
    ids = [[0, 2], [1], [], [3, 1], [2], [0, 1, 3]]
    id_weights = [[1.0, 0.5], [2.0], [], [0.25, 1.0], [1.5], [1.0, -0.5, 0.75]]
    bags = torch.zeros(n_users, n_ids)
    for user, (user_ids, weights) in enumerate(zip(ids, id_weights)):
        bags[user, user_ids] = torch.tensor(weights)
    labels = {
        "brands": [[0], [1, 2], [], [0, 3], [2], [1, 3]],
        "ignored": [[], [], [3], [3], [], [0]],
        "weights": [1.0, 2.0, 0.5, 1.0, 1.5, 0.75],
    }
    initial = {
        "bag": grid(generator, n_ids, n_hidden),
        "weights_1": grid(generator, n_dense, n_hidden),
        "bias_1": grid(generator, n_hidden, scale=0.5),
        "weights_2": grid(generator, n_hidden, n_brands),
        "bias_2": grid(generator, n_brands, scale=0.5),
    }
    learning_rate, weight_decay = 0.05, 0.01
    volumes = [40, 10, 5, 20]

    def lists(parameters):
        return {name: value.tolist() for name, value in parameters.items()}

    cases = []
    for params in EVERY_LOSS:
        parameters = {name: value.clone().requires_grad_() for name, value in initial.items()}
        decayed = [value for name, value in parameters.items() if not name.startswith("bias")]
        biases = [value for name, value in parameters.items() if name.startswith("bias")]
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=learning_rate)
        losses, after = [], {}
        for update in range(1, 11):
            hidden = dense @ parameters["weights_1"] + bags @ parameters["bag"] + parameters["bias_1"]
            logits = torch.relu(hidden) @ parameters["weights_2"] + parameters["bias_2"]
            value = mean_loss(params, logits, labels, volumes, 50)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
            if update in (1, 3, 10):
                after[update] = lists(parameters)
        cases.append({"params": params, "losses": losses, "after": after})
    return {
        "dense": dense.tolist(),
        "ids": ids,
        "id_weights": id_weights,
        "labels": labels,
        "initial": lists(initial),
        "volumes": volumes,
        "n_users": 50,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "cases": cases,
    }


def history_terms(weights, knots, has_level):
    """The terms of weights in a history: 1 if the channel has a level, x = ln(1 + weight), and how far
    x is beyond each knot."""
    x = torch.log1p(weights)
    terms = [torch.ones_like(x)] if has_level else []
    return torch.stack(terms + [x] + [torch.relu(x - knot) for knot in knots], dim=-1)


def history_reference():
    """Full-batch updates of a network with two channels of an own history; the first feeds its layer too.

    Weights of a history have ten times the step size, and the same decay per update.
    """
    generator = torch.Generator().manual_seed(3)
    n_users, n_dense, n_hidden, n_brands = 6, 3, 5, 4
    dense = grid(generator, n_users, n_dense)
    past = [[0, 2], [1], [], [3, 1], [2], [0, 1, 3]]
    weights = [
        [[1.0, 5.0], [2.0], [], [1.0, 3.0], [9.0], [1.0, 1.0, 4.0]],
        [[12.0, 0.0], [40.0], [], [2.0, 100.0], [7.0], [0.0, 30.0, 5.0]],
    ]
    knots = [[0.75, 1.5], [2.0, 3.5]]
    rows = [user for user, brands in enumerate(past) for _ in brands]
    columns = [brand for brands in past for brand in brands]
    bags = torch.zeros(n_users, n_brands)
    bags[rows, columns] = torch.tensor(sum(weights[0], []))
    terms = [
        history_terms(torch.tensor(sum(of_channel, [])), of_knots, channel == 0)
        for channel, (of_channel, of_knots) in enumerate(zip(weights, knots))
    ]
    labels = {
        "brands": [[0], [1, 2], [], [0, 3], [2], [1, 3]],
        "ignored": [[], [], [3], [1], [], []],
        "weights": [1.0, 2.0, 0.5, 1.0, 1.5, 0.75],
    }
    initial = {
        "bag": grid(generator, n_brands, n_hidden, scale=0.25),
        "weights_1": grid(generator, n_dense, n_hidden),
        "bias_1": grid(generator, n_hidden, scale=0.5),
        "weights_2": grid(generator, n_hidden, n_brands),
        "bias_2": grid(generator, n_brands, scale=0.5),
        "own_0": grid(generator, n_brands, 2, scale=0.25),
        "common_0": grid(generator, 4, scale=0.25),
        "own_1": grid(generator, n_brands, 1, scale=0.25),
        "common_1": grid(generator, 3, scale=0.25),
    }
    learning_rate, weight_decay, volumes = 0.01, 0.5, [40, 10, 5, 20]
    parameters = {name: value.clone().requires_grad_() for name, value in initial.items()}

    def group(*prefixes, rate=1.0, decays=True):
        chosen = [value for name, value in parameters.items() if name.startswith(prefixes)]
        return {"params": chosen, "lr": rate * learning_rate, "weight_decay": decays * weight_decay / rate}

    optimizer = torch.optim.AdamW([
        group("bag", "weights"), group("bias", decays=False),
        group("own", rate=10.0), group("common", rate=10.0, decays=False),
    ])  # fmt: skip
    losses, after = [], {}
    for update in range(1, 11):
        hidden = dense @ parameters["weights_1"] + bags @ parameters["bag"] + parameters["bias_1"]
        logits = torch.relu(hidden) @ parameters["weights_2"] + parameters["bias_2"]
        for channel, of_channel in enumerate(terms):
            own, common = parameters[f"own_{channel}"], parameters[f"common_{channel}"]
            added = of_channel @ common + (of_channel[:, : own.shape[1]] * own[columns]).sum(dim=1)
            logits = logits.index_put((torch.tensor(rows), torch.tensor(columns)), added, accumulate=True)
        value = mean_loss(BCE, logits, labels, volumes, 50)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
        if update in (1, 3, 10):
            after[update] = {name: value.tolist() for name, value in parameters.items()}
    return {
        "dense": dense.tolist(),
        "past": past,
        "weights": weights,
        "knots": knots,
        "labels": labels,
        "initial": {name: value.tolist() for name, value in initial.items()},
        "volumes": volumes,
        "n_users": 50,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "losses": losses,
        "after": after,
    }


reference = {
    "made_by": f"make_reference.py with PyTorch {torch.__version__}",
    "losses": loss_reference(),
    "training": training_reference(),
    "history": history_reference(),
}
path = pathlib.Path(__file__).with_name("reference.json")
path.write_text(json.dumps(reference) + "\n")
