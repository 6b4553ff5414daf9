"""How time and memory of each stage grow with users and with brands.

Made-up populations of 50,000 to 2,000,000 users (3,000 brands) and of 300 to 6,000 brands (200,000
users). In each, approach 1a draws half of the users and four clones for each of them, a network is
trained on all users for one epoch, and a tenth of the users is scored. Times and peak memory are
those of the stages' records: resident memory, mapped files included. Writes bench/out/growth.json
and docs/results/growth.{md,svg}.
"""

import argparse
import json
import math
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.append(str(HERE))
import population  # noqa: E402
from process import watch  # noqa: E402

SQL = ROOT / "sample-stage/sql"
USERS = [50_000, 200_000, 500_000, 1_000_000, 2_000_000]
BRANDS = [300, 1000, 3000, 6000]
BRANDS_AT = 200_000
MIDDLE = (BRANDS_AT, 3000)
STAGES = ["demo-data", "holdout", "sample", "train", "score", "report"]


def measure(programs, work, n_users, n_brands):
    """Seconds and GiB of each stage."""
    clones = {"sql": str(SQL / "clone_without_high_volume.sql"),
              "params": {"n_users": n_users // 2, "n_clones": 2 * n_users, "seed": 7}}  # fmt: skip
    train = {"hidden": [256, 256], "epochs": 1, "batch_size": 1024, "dropout": 0}
    experiments = {
        "all": {"sample": {"sql": str(SQL / "everyone.sql")}, "train": train,
                "score": {"decision": {"policy": "expected_f1"}, "calibration": "platt"}},
        "clones": {"sample": clones},
    }  # fmt: skip
    holdout = {"valid": n_users // 20, "test": n_users // 10, "seed": 7}
    made = population.make(
        work, programs, n_users, n_brands, 0.0001, holdout, experiments, population.LIKE_THE_ORIGINAL
    )
    watch([programs / "pipeline", "run", "clones", "--to", "sample"], work)
    watch([programs / "pipeline", "run", "all", "-j", "1"], work)
    found = {"demo-data": (made["secs"], made["resident"])}
    for stage, folder in [("holdout", "holdout"), ("sample", "clones/sample"), ("train", "all/train"),
                          ("score", "all/score"), ("report", "report")]:  # fmt: skip
        record = json.loads((work / "runs" / folder / "stage.json").read_text())
        found[stage] = record["secs"], record["peak_memory_bytes"] / 2**30
    shutil.rmtree(work)
    return found


def markdown(title, sizes, found):
    """A row a size, a column a stage."""
    lines = [f"| {title} | {' | '.join(STAGES)} |", "| ---: |" + " ---: |" * len(STAGES)]
    for size in sizes:
        cells = [f"{found[size][stage][0]:.1f} s, {found[size][stage][1]:.2f} GiB" for stage in STAGES]
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def chart(panels):
    """Small multiples on doubly logarithmic axes: a line of slope one grows as the size does."""
    width, height, left, top, gap = 230, 170, 46, 34, 62
    colours = ["#5b7fa6", "#a65b5b", "#5ba66e", "#a6905b", "#7d5ba6", "#5ba6a0"]
    parts = []
    for i, (title, unit, sizes, series) in enumerate(panels):
        x0, y0 = left + (i % 2) * (width + gap), top + (i // 2) * (height + gap)
        values = [value for line in series.values() for value in line]
        low, high = min(values) * 0.8, max(values) * 1.25

        def place(size, value, x0=x0, y0=y0, sizes=sizes, low=low, high=high):
            x = x0 + width * math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0])
            return x, y0 + height * (1 - math.log(value / low) / math.log(high / low))

        parts.append(f'<text x="{x0}" y="{y0 - 12}" font-weight="bold">{title}</text>')
        parts.append(f'<rect x="{x0}" y="{y0}" width="{width}" height="{height}" fill="none" stroke="#8886"/>')
        for size in sizes:
            x, _ = place(size, low)
            label = next(f"{size / unit:g}{name}" for unit, name in ((1e6, "M"), (1e3, "k"), (1, "")) if size >= unit)
            parts.append(f'<text x="{x:.1f}" y="{y0 + height + 14}" text-anchor="middle">{label}</text>')
        for exponent in range(-3, 5):
            tick = 10.0**exponent
            if low <= tick <= high:
                _, y = place(sizes[0], tick)
                parts.append(f'<path d="M{x0},{y:.1f}h{width}" stroke="#8884"/>')
                parts.append(f'<text x="{x0 - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:g} {unit}</text>')
        for colour, (name, line) in zip(colours, series.items(), strict=True):
            points = [place(*point) for point in zip(sizes, line, strict=True)]
            path = "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"><title>{name}</title></path>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points]
    y = top + 2 * (height + gap) - 18
    for i, (colour, name) in enumerate(zip(colours, STAGES, strict=True)):
        x = left + i * 88
        parts.append(f'<path d="M{x},{y - 4}h14" stroke="{colour}" stroke-width="3"/><text x="{x + 18}" y="{y}">{name}</text>')
    size = f'width="{left + 2 * (width + gap) - 40}" height="{y + 14}"'
    style = 'font-family="system-ui, sans-serif" font-size="11" fill="#777"'
    head = "Time and memory of each stage, by users and by brands, on logarithmic axes"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style} role="img"><title>{head}</title>\n' + "\n".join(parts) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "bench/scratch/growth")
    parser.add_argument("--users", type=int, nargs="+", default=USERS)
    args = parser.parse_args()
    programs, work = args.programs.resolve(), args.work.resolve()
    found = {}
    for size in dict.fromkeys([(n, 3000) for n in args.users] + [(BRANDS_AT, n) for n in BRANDS]):
        found[size] = measure(programs, work, *size)
        print(size, found[size], flush=True)
    by_users = {n: found[n, 3000] for n in args.users}
    by_brands = {n: found[BRANDS_AT, n] for n in BRANDS}
    panels = [
        (f"{what}, by {of}", unit, list(sizes), {
            stage: [sizes[size][stage][i] for size in sizes] for stage in STAGES
        })
        for i, what, unit in ((0, "Time", "s"), (1, "Peak memory", "GiB"))
        for of, sizes in (("users", by_users), ("brands", by_brands))
    ]  # fmt: skip
    target = ROOT / "docs/results"
    target.mkdir(parents=True, exist_ok=True)
    (target / "growth.svg").write_text(chart(panels))
    tables = [markdown("users", args.users, by_users), markdown("brands", BRANDS, by_brands)]
    (target / "growth.md").write_text("\n\n".join(tables) + "\n")
    rows = [
        {"work": f"{stage}, {n_users} users, {n_brands} brands", "rival": f"{MIDDLE[0]} users, {MIDDLE[1]} brands",
         "unit": unit, "ours": round(sizes[stage][i], 3), "theirs": round(found[MIDDLE][stage][i], 3),
         "ratio": round(found[MIDDLE][stage][i] / sizes[stage][i], 3)}
        for (n_users, n_brands), sizes in found.items()
        for stage in STAGES
        for i, unit in ((0, "s"), (1, "GiB resident memory"))
    ]  # fmt: skip
    out = ROOT / "bench/out/growth.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
