"""Compares one process, datafusion-distributed and Ballista on our queries: rows, seconds, memory,
and what happens when a process is killed or stopped. Writes bench/out/engines.json.

    python3 bench/engines/run.py [--users 1000000] [--parts rows,deaths,limits,network]

Needs the program: cargo build --release --locked --manifest-path bench/engines/Cargo.toml. Plain
Python, no packages; openssl for the certificates.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
QUERIES = [
    "uniform",
    "clone_small_brands",
    "clone_masking_high_volume",
    "balance_by_volume",
    "top_users_per_brand",
    "ml_ros",
    "everyone",
    "holdout",
    "score",
    "score_brands",
]
N_WORKERS = 3
THREADS = 2  # of each worker: six in all, on whatever cores there are
HANG = 150  # seconds after which a query counts as hanging


class Engine:
    """Processes of one engine, and the client that runs queries on them."""

    def __init__(self, program, data, scratch, kind, memory=2048, extra=(), worker_extra=()):
        self.program, self.data, self.scratch, self.kind = program, data, scratch, kind
        self.memory, self.extra, self.worker_extra = memory, list(extra), list(worker_extra)
        self.processes, self.ports = {}, {}

    def __enter__(self):
        if self.kind == "local":
            return self
        if self.kind == "distributed":
            for i in range(N_WORKERS):
                self.start_worker(i)
        else:
            self.ports["scheduler"] = free_port()
            liveness = [a for a in self.worker_extra if a in ("--pull",)] + self.liveness()
            self.spawn("scheduler", ["ballista", "scheduler", "--port", self.ports["scheduler"], *liveness])
            wait_for(self.ports["scheduler"])
            for i in range(N_WORKERS):
                self.start_worker(i)
            time.sleep(2)  # until the scheduler knows them
        return self

    def liveness(self):
        args, known = [], {"--executor-timeout", "--heartbeat", "--look"}
        for name, value in zip(self.worker_extra, self.worker_extra[1:]):
            if name in known:
                args += [name, value]
        return args

    def start_worker(self, i):
        name = f"worker{i}"
        port = self.ports[name] = free_port(2)
        folder = self.scratch / f"{self.kind}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        limits = ["--threads", THREADS, "--memory", self.memory, "--scratch", folder]
        if self.kind == "distributed":
            args = ["distributed", "worker", "--port", port, *limits]
        else:
            work = folder / "shuffle"
            args = ["ballista", "executor", "--port", port, "--scheduler", self.ports["scheduler"], "--work", work, *limits]
        self.spawn(name, [*args, *self.worker_extra])
        wait_for(port)

    def spawn(self, name, args):
        log = open(self.scratch / f"{self.kind}-{name}.log", "w")
        self.processes[name] = subprocess.Popen(
            [self.program, *map(str, args)], stdout=log, stderr=log, env={**os.environ, "RUST_LOG": "warn"}
        )

    def __exit__(self, *_):
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def client(self, queries, *more):
        """Starts the client; its output has a line of JSON for each query."""
        sql = ["--sql", ROOT / "sample-stage/sql", "--queries", ",".join(queries), "--data", self.data]
        sql += ["--set", f"n_users={self.n_users // 4},n_users_per_brand=200"]
        if self.kind == "local":
            args = ["local"]
        elif self.kind == "distributed":
            workers = ",".join(str(self.ports[f"worker{i}"]) for i in range(N_WORKERS))
            args = ["distributed", "run", "--workers", workers, "--threads", THREADS]
        else:
            args = ["ballista", "run", "--scheduler", self.ports["scheduler"], "--partitions", N_WORKERS * THREADS]
        args = [self.program, *map(str, [*args, *sql, "--memory", self.memory, *self.extra, *more])]
        log = open(self.scratch / f"{self.kind}-client.log", "w")
        return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=log, text=True)

    def run(self, query, *more):
        """Runs one query: its line, with the peak memory of each process in MiB."""
        for process in self.processes.values():
            reset_peak(process.pid)
        client = self.client([query], *more)
        peak, deadline = 0, time.monotonic() + HANG * 2
        while client.poll() is None:
            peak = max(peak, peak_mib(client.pid))
            if time.monotonic() > deadline:
                client.kill()
                return {"query": query, "error": f"no end after {HANG * 2} s"}
            time.sleep(0.02)
        out = client.stdout.read().strip().splitlines()
        log = (self.scratch / f"{self.kind}-client.log").read_text().strip()
        line = json.loads(out[-1]) if out else {"query": query, "error": log[-2000:]}
        line["peak_mib"] = {"client": peak}
        for name, process in self.processes.items():
            line["peak_mib"][name] = peak_mib(process.pid)
        return line


def free_port(n=1):
    """The first of `n` free ports in a row."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                for i in range(1, n):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port + i))
            except OSError:
                continue
        return port


def wait_for(port, seconds=30):
    for _ in range(seconds * 20):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port} after {seconds} s: see the logs")


def reset_peak(pid):
    with contextlib.suppress(OSError):
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pid):
    with contextlib.suppress(OSError, StopIteration, ProcessLookupError):
        status = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1024
    return 0


def kinds(ctx):
    """Name, engine: one process with the cores' threads, one with those of all workers, the engines."""
    def make(*a, **k):
        engine = Engine(ctx.program, ctx.data, ctx.scratch, *a, **k)
        engine.n_users = ctx.users
        return engine

    all_threads = N_WORKERS * THREADS
    alive = ["--keep-alive", 10]
    fast = ["--executor-timeout", "10", "--heartbeat", "2", "--look", "2"]
    return {
        "one process": lambda **k: make("local", extra=["--threads", 2], **k),
        "one process, 6 threads": lambda **k: make("local", extra=["--threads", all_threads], **k),
        "datafusion-distributed": lambda **k: make("distributed", extra=alive, worker_extra=alive, **k),
        "datafusion-distributed, plain": lambda **k: make("distributed", **k),
        "Ballista": lambda **k: make("ballista", worker_extra=fast, **k),
        "Ballista, fixed plan": lambda **k: make("ballista", extra=["--fixed-plan"], worker_extra=fast, **k),
        "Ballista, as shipped": lambda **k: make("ballista", **k),
    }


def rows(ctx):
    """Each query on each engine: rows as in one process, seconds, memory."""
    found = {}
    for name in ["one process", "one process, 6 threads", "datafusion-distributed", "Ballista", "Ballista, fixed plan"]:
        with kinds(ctx)[name]() as engine:
            for query in ctx.queries:
                runs = [engine.run(query) for _ in range(ctx.repeats)]
                good = [run for run in runs if "error" not in run]
                entry = {"runs": len(runs), "errors": sorted({run["error"] for run in runs if "error" in run})}
                if good:
                    entry["seconds"] = statistics.median(run["seconds"] for run in good)
                    entry["seconds_all"] = [run["seconds"] for run in good]
                    entry["rows"], entry["hash"] = good[0]["rows"], sorted({run["hash"] for run in good})
                    entry["peak_mib"] = {p: max(run["peak_mib"][p] for run in good) for p in good[0]["peak_mib"]}
                if name != "one process":
                    entry["same_rows"] = bool(good) and entry["hash"] == found["one process"][query].get("hash")
                found.setdefault(name, {})[query] = entry
                show(name, query, entry)
    return found


def deaths(ctx):
    """A process is killed or stopped while a query runs, at several moments."""
    found = []
    for name in ctx.engines or ["datafusion-distributed", "datafusion-distributed, plain", "Ballista", "Ballista, fixed plan"]:
        for query in ["clone_masking_high_volume", "everyone", "score"]:
            with kinds(ctx)[name]() as engine:
                usual = engine.run(query)
                usual = engine.run(query)
            if "error" in usual:
                found.append({"engine": name, "query": query, "outcome": "error without a kill", "error": usual["error"]})
                continue
            cases = [("worker1", signal.SIGKILL, share) for share in (0.1, 0.35, 0.6, 0.85)]
            if query == "clone_masking_high_volume":
                cases += [("worker1", signal.SIGSTOP, 0.35), ("worker1", signal.SIGKILL, None)]
                if name.startswith("Ballista"):
                    cases += [("scheduler", signal.SIGKILL, 0.5)]
            for victim, sign, share in cases:
                with kinds(ctx)[name]() as engine:
                    if share is not None:
                        engine.run(query)  # connections and files as in the usual run
                    found.append({"engine": name, "query": query, **death(engine, query, usual, victim, sign, share)})
                    show(found[-1])
    return found


def death(engine, query, usual, victim, sign, share):
    """`share` of the usual time into the query; None: before it starts."""
    case = {"victim": victim, "signal": sign.name, "at_share": share, "usual_seconds": usual["seconds"]}
    if share is None:
        engine.processes[victim].send_signal(sign)
        time.sleep(0.2)
        client, killed = engine.client([query]), time.monotonic()
    else:
        client = engine.client([query])
        # The client reads the tables' schemas before the clock of a query starts.
        time.sleep(0.15 + share * usual["seconds"])
        if client.poll() is not None:
            return {**case, "outcome": "over before the kill"}
        engine.processes[victim].send_signal(sign)
        killed = time.monotonic()
    try:
        out, _ = client.communicate(timeout=HANG)
    except subprocess.TimeoutExpired:
        client.kill()
        client.communicate()
        return {**case, "outcome": f"hangs, stopped after {HANG} s"}
    case["seconds_after"] = round(time.monotonic() - killed, 2)
    log = (engine.scratch / f"{engine.kind}-client.log").read_text().strip()
    line = json.loads(out.splitlines()[-1]) if out.strip() else {"error": log[-1500:]}
    if "error" in line:
        outcome = "error"
        case["error"] = line["error"][:600]
    else:
        outcome = "same rows" if line["hash"] == usual["hash"] else "WRONG ROWS"
        case["rows"], case["rows_expected"] = line["rows"], usual["rows"]
    # Whether the engine works again, without the victim.
    if victim != "scheduler" and sign is signal.SIGKILL:
        again = engine.run(query)
        case["next_query"] = again.get("error", "same rows" if again.get("hash") == usual["hash"] else "WRONG ROWS")[:200]
    return {**case, "outcome": outcome}


def limits(ctx):
    """A small memory limit: spill, error or growth; and the files that are left behind."""
    found = []
    for memory in (512, 64):
        for name in ["one process", "datafusion-distributed", "Ballista, fixed plan", "Ballista"]:
            for query in ["everyone", "uniform"]:
                for joins in ([], ["--sort-joins"]):
                    with kinds(ctx)[name](memory=memory) as engine:
                        if joins and name.startswith("Ballista"):
                            continue
                        engine.worker_extra += joins
                        line = engine.run(query, *joins)
                        left = {f.name: mib_of(f) for f in engine.scratch.glob(f"{engine.kind}-worker*") if f.is_dir()}
                    entry = {"engine": name, "memory_mib": memory, "sort_joins": bool(joins), "left_mib": left}
                    found.append({**entry, **line, "error": line.get("error", "")[:300]})
                    show(found[-1])
    return found


def mib_of(folder):
    return round(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20, 1)


def network(ctx):
    """Tables as Arrow IPC and by a provider of our own; versions, tokens, certificates."""
    found = {}
    for name in ["datafusion-distributed", "Ballista", "Ballista, fixed plan"]:
        with kinds(ctx)[name]() as engine:
            usual = engine.run("holdout")
            for label, more in [
                ("own provider", ["--own-provider"]),
                ("Arrow IPC", ["--format", "arrow"]),
                ("Arrow IPC by own provider", ["--format", "arrow", "--own-provider"]),
            ]:
                found[f"{name}: {label}"] = same(engine.run("holdout", *more), usual)
                show(label, found[f"{name}: {label}"])
            if name == "Ballista, fixed plan":
                for more in (["--own-provider"], []):
                    line = same(engine.run("holdout", "--physical", *more), usual)
                    found[f"Ballista: physical plan {' '.join(more)}"] = line
                    show("physical", line)
    certs = certificates(ctx.scratch / "certs")
    secure = ["--tls", certs, "--token", "abc", "--version", "1.2"]
    engine = kinds(ctx)["datafusion-distributed, plain"]()
    engine.worker_extra = secure
    with engine:
        for label, more in [
            ("certificates, token, version", [*secure, "--check"]),
            ("other token", ["--tls", certs, "--token", "abd"]),
            ("no token", ["--tls", certs]),
            ("no certificate", ["--token", "abc"]),
            ("other version", ["--tls", certs, "--token", "abc", "--version", "1.3", "--check"]),
        ]:
            found[f"datafusion-distributed: {label}"] = engine.run("holdout", *more)
            show(label, found[f"datafusion-distributed: {label}"])
    return found


def same(line, usual):
    return {**line, "same_rows": "error" not in line and line["hash"] == usual.get("hash")}


def certificates(folder):
    """A certificate authority, and one certificate for all processes."""
    folder.mkdir(parents=True, exist_ok=True)
    ext = folder / "ext.cnf"
    ext.write_text("subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n")
    for command in [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt",
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout node.key -out node.csr",
        "x509 -req -in node.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext.cnf -out node.crt",
    ]:
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


def show(*what):
    print(*(json.dumps(w) if isinstance(w, dict) else w for w in what), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", default="rows,deaths,limits,network")
    parser.add_argument("--queries", default=",".join(QUERIES))
    parser.add_argument("--engines", default="")
    parser.add_argument("--program", type=pathlib.Path, default=HERE / "target/release/engines")
    parser.add_argument("--scratch", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "engines")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/out/engines.json")
    ctx = parser.parse_args()
    ctx.queries = ctx.queries.split(",")
    ctx.engines = [name for name in ctx.engines.split(";") if name]
    ctx.scratch.mkdir(parents=True, exist_ok=True)
    ctx.data = ctx.scratch / f"data-{ctx.users}"
    if not (ctx.data / "arrow/users/11.arrow").exists():
        subprocess.run([ctx.program, "data", "--data", ctx.data, "--users", str(ctx.users)], check=True)
    results = json.loads(ctx.out.read_text()) if ctx.out.exists() else {}
    for part in ctx.parts.split(","):
        results[part] = {"rows": rows, "deaths": deaths, "limits": limits, "network": network}[part](ctx)
        results["machine"] = {"cores": os.cpu_count(), "workers": N_WORKERS, "threads_each": THREADS, "users": ctx.users}
        ctx.out.parent.mkdir(parents=True, exist_ok=True)
        ctx.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
