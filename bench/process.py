"""Runs a program and watches its memory."""

import os
import pathlib
import subprocess
import sys
import time

# For PyTorch's malloc, which otherwise returns memory to the system and takes it again in every update.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}


def family(pid):
    """A process and those that it started."""
    yield pid
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids = children.read_text().split()
        except OSError:
            continue
        for child in pids:
            yield from family(int(child))


def memory_gib(pid):
    """Resident memory of a process and those that it started, in GiB: anonymous memory, and all."""
    kib = {"RssAnon": 0, "VmRSS": 0}
    for member in family(pid):
        try:
            status = pathlib.Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            key, _, value = line.partition(":")
            if key in kib:
                kib[key] += int(value.split()[0])
    return kib["RssAnon"] / 2**20, kib["VmRSS"] / 2**20


def watch(command, cwd, env=None):
    """Wall seconds, and the peaks of anonymous and of all resident memory in GiB.

    * `env`: variables to set besides those that are.
    """
    log = pathlib.Path(cwd) / "log.txt"
    with log.open("w") as output:
        start = time.monotonic()
        process = subprocess.Popen(
            command, cwd=cwd, env=os.environ | (env or {}), stdout=output, stderr=output
        )
        anonymous = resident = 0.0
        while process.poll() is None:
            now = memory_gib(process.pid)
            anonymous, resident = max(anonymous, now[0]), max(resident, now[1])
            time.sleep(0.02)
        secs = time.monotonic() - start
    if process.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{log.read_text()}")
    return {"secs": secs, "anonymous": anonymous, "resident": resident}
