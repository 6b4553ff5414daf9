"""The shipped experiments on every data set, as docs/EXPERIMENTS.md shows them.

Runs each manifest with three seeds, in a run folder of its own, and makes a report that compares all
experiments with each rival, so that every interval is a paired one over users and seeds. What is up
to date is not run again. Writes bench/out/experiments.json and prints Markdown.
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
RIVALS = ("bau_tuned", "bau_tuned_macro", "bce_tuned", "bce_tuned_macro", "persistence")
BUCKETS = ("0.5", "0.1", "0.05")


def run(program, *args):
    done = subprocess.run([program, *args], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{program} {' '.join(map(str, args))} failed\n{done.stderr}")
    return done.stdout


def report(programs, manifest, folder, seeds):
    """report.json of a run with all rivals that the manifest has."""
    sets = ["--manifest", manifest, "--set", f"run_dir={folder}", "--set", f"seeds={seeds}"]
    known = json.loads(run(programs / "pipeline", "check", "--json", *sets))["experiments"]
    rivals = [rival for rival in RIVALS if rival in known]
    sets += ["--set", f"report.also_against=[{', '.join(rivals)}]"]
    run(programs / "pipeline", "run", *sets)
    return json.loads((folder / "report/report.json").read_text()), rivals


def line(e):
    buckets = " / ".join(str(e["buckets"][low]) for low in BUCKETS)
    valid = (e["valid"] or {}).get("item", {}).get("macro_f1")
    figures = [e["item"]["macro_f1"], e["user"]["f1"], e["map"], e["user"]["precision_at"]["1"], valid]
    cells = [f"`{e['name']}`", buckets, *("–" if f is None else f"{f:.3f}" for f in figures)]
    return f"| {' | '.join(cells)} | {max(len(e['seeds']), 1)} |"


def change(judged, digits):
    low, high = judged["ci95"]
    agree = "" if judged["n_agree"] == judged["n_seeds"] else f", {judged['n_agree']} of {judged['n_seeds']} seeds"
    return f"{judged['abs']:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]{agree}"


def value(e, unit):
    if unit.startswith("brands"):
        return e["buckets"][unit.rpartition(" ")[2]]
    return e["item"]["macro_f1"] if unit == "macro F1" else e["user"]["f1"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=json.loads, default=[7, 8, 9])
    parser.add_argument("--data", nargs="+", default=list(MANIFESTS), help="names, or NAME=MANIFEST")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "bench/scratch/experiments")
    args = parser.parse_args()
    programs, work = args.programs.resolve(), args.work.resolve()
    rows = []
    for data in args.data:
        data, _, manifest = data.partition("=")
        found, rivals = report(programs, manifest or MANIFESTS[data], work / data, args.seeds)
        experiments = {e["name"]: e for e in found["experiments"] if e["status"] == "ok"}
        print(f"\n### {data}: {found['n_test_users']:,} test users, {found['n_brands']:,} brands\n")
        print("| experiment | F1 >= .5 / .1 / .05 | macro F1 | user F1 | MAP | P@1 | macro F1 on valid | seeds |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for e in experiments.values():
            print(line(e))
        print("\n| | rival | macro F1 | user F1 | brands at F1 >= .5 | >= .1 | >= .05 |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
        for ours in OURS:
            for rival in [found["baseline"], *rivals]:
                e = experiments[ours]
                delta = e["delta"] if rival == found["baseline"] else e["against"][rival]
                levels = {"macro F1": delta["item_f1"], "user F1": delta["user_f1"]}
                buckets = {f"brands at F1 >= {low}": delta["buckets"][low] for low in BUCKETS}
                cells = [change(judged, 4) for judged in levels.values()]
                cells += [change(judged, 0) for judged in buckets.values()]
                print(f"| `{ours}` | `{rival}` | {' | '.join(cells)} |")
                for unit, judged in {**levels, **buckets}.items():
                    mine, theirs = (value(of, unit) for of in (e, experiments[rival]))
                    ratio = round(mine / theirs, 3) if theirs else None
                    rows.append({"work": f"{data}, {ours}", "rival": rival, "unit": unit,
                                 "ours": mine, "theirs": theirs, "ratio": ratio,
                                 "ci95": judged["ci95"]})  # fmt: skip
    target = ROOT / "bench/out/experiments.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
