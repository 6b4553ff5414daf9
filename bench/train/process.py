"""Runs a program and watches its memory."""

import pathlib
import subprocess
import sys
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
import population  # noqa: E402


def anonymous_gib(pid):
    """Resident memory that is no file's: what a program needs however large the page cache is."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(lines[0].split()[1]) / 2**20 if lines else 0.0


def watch(command, cwd, env=None):
    """Wall seconds and peak anonymous memory in GiB."""
    log = pathlib.Path(cwd) / "log.txt"
    with log.open("w") as output:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=output, stderr=output)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, anonymous_gib(process.pid))
            time.sleep(0.02)
        secs = time.monotonic() - start
    if process.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{log.read_text()}")
    return secs, peak


def make_population(work, programs, n_users, n_brands, holdout, experiments):
    """A population, split, with a sample for each experiment."""
    population.make(work, programs, n_users, n_brands, 0.0005, holdout, experiments)
    watch([programs / "sample-stage", "holdout"], work)
    for name in experiments:
        watch([programs / "sample-stage", "sample", "--experiment", name], work)
