"""The shipped experiments on every data set with three seeds, as docs/EXPERIMENTS.md shows them.

Each seed has a run folder of its own; one that is complete is not run again. `best` and
`best_audience` are compared with each rival by making the report again with that baseline, so
that every interval is a paired one. Writes bench/out/experiments.json and prints Markdown.
"""

import argparse
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
MANIFESTS = {
    "demo": "pipeline.yaml",
    "delicious": "datasets/delicious/pipeline.yaml",
    "complete-journey": "datasets/complete-journey/pipeline.yaml",
    "movielens-1m": "datasets/movielens-1m/pipeline.yaml",
}
OURS = ("best", "best_audience")
RIVALS = ("bau", "bau_tuned", "bau_tuned_macro", "bce_tuned", "bce_tuned_macro")
BUCKETS = ("0.5", "0.1", "0.05")


def run(program, *args):
    done = subprocess.run([program, *args], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{program} {' '.join(map(str, args))} failed\n{done.stderr}")


def report(programs, manifest, folder, seed, baseline):
    sets = [f"run_dir={folder}", f"seeds=[{seed}]", f"baseline={baseline}"]
    args = [arg for text in sets for arg in ("--set", text)]
    run(programs / "report-stage", "--manifest", manifest, *args)
    found = json.loads((folder / "report/report.json").read_text())["experiments"]
    return {e["name"]: e for e in found if e["status"] == "ok"}


def line(name, seeds):
    """Means over seeds, for a table."""
    mean = lambda value: sum(map(value, seeds)) / len(seeds)  # noqa: E731
    buckets = " / ".join(f"{mean(lambda e, b=b: e['buckets'][b]):.0f}" for b in BUCKETS)
    figures = [mean(lambda e: e["item"]["macro_f1"]), mean(lambda e: e["user"]["f1"]),
               mean(lambda e: e["map"]), mean(lambda e: e["user"]["precision_at"]["1"])]  # fmt: skip
    cells = [f"`{name}`", buckets, *(f"{value:.3f}" for value in figures), str(len(seeds))]
    return "| " + " | ".join(cells) + " |"


def change(delta):
    low, high = delta["ci95"]
    return f"{delta['abs']:+.3f} [{low:+.3f}, {high:+.3f}]"


def bucket_changes(e, base):
    return " / ".join(f"{e['buckets'][b] - base['buckets'][b]:+d}" for b in BUCKETS)


def units(e):
    buckets = {f"brands at F1 >= {b}": e["buckets"][b] for b in BUCKETS}
    return buckets | {"macro F1": e["item"]["macro_f1"], "user F1": e["user"]["f1"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 107, 207])
    parser.add_argument("--data", nargs="+", default=list(MANIFESTS))
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "bench/scratch/experiments")
    args = parser.parse_args()
    programs, work = args.programs.resolve(), args.work.resolve()
    rows = []
    for data in args.data:
        manifest, by_seed, against = MANIFESTS[data], {}, {}
        for seed in args.seeds:
            folder = work / data / str(seed)
            sets = ["--set", f"run_dir={folder}", "--set", f"seeds=[{seed}]"]
            # All experiments once; with other seeds those that are compared.
            only = [] if seed == args.seeds[0] else [*RIVALS, *OURS]
            run(programs / "pipeline", "run", *only, "--manifest", manifest, *sets)
            for rival in RIVALS:
                found = report(programs, manifest, folder, seed, rival)
                against[rival, seed] = {ours: found[ours] for ours in OURS}
            by_seed[seed] = report(programs, manifest, folder, seed, RIVALS[0])
        print(f"\n{data}, means over seeds\n")
        print("| experiment | F1 >= .5 / .1 / .05 | macro F1 | user F1 | MAP | P@1 | seeds |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for name in by_seed[args.seeds[0]]:
            seeds = [found[name] for found in by_seed.values() if name in found]
            print(line(name, seeds))
        print(f"\n{data}, changes against each rival, seeds {', '.join(map(str, args.seeds))}\n")
        print("| | rival | macro F1 | user F1 | buckets |")
        print("| --- | --- | --- | --- | --- |")
        for ours in OURS:
            for rival in RIVALS:
                pairs = [(against[rival, seed][ours], by_seed[seed][rival]) for seed in args.seeds]
                changes = [[change(e["delta"][level]) for e, _ in pairs] for level in ("item_f1", "user_f1")]
                changes.append([bucket_changes(e, base) for e, base in pairs])
                cells = " | ".join("<br>".join(cell) for cell in changes)
                print(f"| `{ours}` | `{rival}` | {cells} |")
                for seed, (e, base) in zip(args.seeds, pairs, strict=True):
                    for unit, value in units(e).items():
                        theirs = units(base)[unit]
                        ratio = round(value / theirs, 3) if theirs else None
                        rows.append({"work": f"{data}, {ours}, seed {seed}", "rival": rival,
                                     "unit": unit, "ours": value, "theirs": theirs, "ratio": ratio})  # fmt: skip
    target = ROOT / "bench/out/experiments.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
