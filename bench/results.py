"""Writes the tables of docs/RESULTS.md from a finished run of datasets/population-2m.

Copies report.json to docs/results/population-2m.json. Times and memory are those of the stages'
records; a result that experiments share counts once, for the one that made it.
"""

import json
import pathlib
import shutil

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = ROOT / "datasets/population-2m/runs"
RESULTS = ROOT / "docs/RESULTS.md"
TOPS = [500, 1000]
ORIGINAL = {
    "bau": (300, 2181, 2721), "bfce_1m": (78, 1300, 2044), "approach_1a": (57, 1185, 1788),
    "approach_2": (37, 925, 1539),
}  # fmt: skip
REMARKS = {
    "approach_0": "poor",
    "approach_1b": "poor",
    "approach_3": "scores super low",
    "approach_4": "did not scale",
}


def number(value, digits=3):
    return "–" if value is None else f"{value:.{digits}f}"


def change(judged):
    """A change with its interval."""
    if judged["abs"] is None:
        return "–"
    low, high = judged["ci95"]
    return f"{judged['abs']:+.4f} ({low:+.4f}, {high:+.4f})"


def table(titles, rows):
    sides = ["---" if title in ("experiment", "verdict", "original") else "---:" for title in titles]
    head = f"| {' | '.join(titles)} |\n| {' | '.join(sides)} |\n"
    return head + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def distributions(report):
    def row(experiment):
        name, buckets = experiment["name"], experiment["buckets"]
        original = " / ".join(f"{n:,}" for n in ORIGINAL.get(name, ())) or REMARKS.get(name, "")
        return [f"`{name}`", *(f"{n:,}" for n in buckets.values()), original]

    titles = ["experiment", "F1 >= 0.5", "F1 >= 0.1", "F1 >= 0.05", "original"]
    return table(titles, map(row, report["experiments"]))


def levels(report):
    def row(experiment):
        is_baseline = experiment["name"] == report["baseline"]
        delta = experiment["delta"]
        return [
            f"`{experiment['name']}`",
            f"{experiment['updates'] or 0:,}" if experiment["updates"] else "–",
            number(experiment["map"]),
            number(experiment["item"]["macro_f1"]),
            "–" if is_baseline else change(delta["item_f1"]),
            number(experiment["user"]["f1"]),
            "–" if is_baseline else change(delta["user_f1"]),
            experiment["verdict"],
        ]

    titles = ["experiment", "updates", "MAP", "item macro F1", "change", "user F1", "change", "verdict"]
    return table(titles, map(row, report["experiments"]))


def record(*folder):
    path = RUNS.joinpath(*folder, "stage.json")
    return json.loads(path.read_text()) if path.exists() else None


def took(found):
    return f"{found['secs']:.0f} s, {found['peak_memory_bytes'] / 2**30:.2f} GiB"


def stages(report):
    """Time and memory of each stage; their sum over what was made once."""
    rows, total, peak = [], 0.0, 0
    for name in ["holdout", *(experiment["name"] for experiment in report["experiments"]), "report"]:
        is_shared = name in ("holdout", "report")
        cells = []
        for stage in ("sample", "train", "score"):
            found = record(name) if is_shared and stage == "sample" else record(name, stage)
            if found is None:
                cells.append("")
                continue
            is_own = is_shared or found["experiment"] == name
            cells.append(took(found) if is_own else f"that of `{found['experiment']}`")
            if is_own:
                total, peak = total + found["secs"], max(peak, found["peak_memory_bytes"])
        rows.append([f"`{name}`", *cells])
    titles = ["experiment", "sample", "train", "score"]
    size = sum(path.stat().st_size for path in unique_files(RUNS))
    summary = (
        f"Sum over the stages {total / 60:.0f} min; largest stage {peak / 2**30:.2f} GiB; "
        f"results on disk {size / 1e9:.1f} GB, with those of fewer brands."
    )
    return table(titles, rows) + "\n\n" + summary


def unique_files(folder):
    """Files below, each once however many names it has."""
    seen = set()
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_ino not in seen:
            seen.add(path.stat().st_ino)
            yield path


def fewer_brands():
    rows = []
    for top in TOPS:
        path = RUNS / f"top-{top}/report/report.json"
        if path.exists():
            for experiment in json.loads(path.read_text())["experiments"]:
                if experiment["status"] == "ok":
                    delta = experiment["delta"]["item_f1"]
                    rows.append([f"`{experiment['name']}`, {top} brands", *map(str, experiment["buckets"].values()),
                                 number(experiment["item"]["macro_f1"]), change(delta) if delta["ci95"] else "–",
                                 number(experiment["user"]["f1"])])  # fmt: skip
    titles = ["experiment", "F1 >= 0.5", "F1 >= 0.1", "F1 >= 0.05", "item macro F1", "change", "user F1"]
    return table(titles, rows)


def main():
    report = json.loads((RUNS / "report/report.json").read_text())
    (ROOT / "docs/results").mkdir(exist_ok=True)
    shutil.copy(RUNS / "report/report.json", ROOT / "docs/results/population-2m.json")
    growth = ROOT / "docs/results/growth.md"
    parts = {
        "distributions": distributions(report), "levels": levels(report), "stages": stages(report),
        "fewer-brands": fewer_brands(), "growth": growth.read_text().strip() if growth.exists() else "",
    }  # fmt: skip
    text = RESULTS.read_text()
    for name, part in parts.items():
        before, rest = text.split(f"<!-- {name} -->\n", 1)
        after = rest.split(f"<!-- end of {name} -->", 1)[1]
        text = f"{before}<!-- {name} -->\n{part}\n<!-- end of {name} -->{after}"
    RESULTS.write_text(text)


if __name__ == "__main__":
    main()
