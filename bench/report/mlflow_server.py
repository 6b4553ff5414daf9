"""`pipeline export --format mlflow` against a real tracking server.

Runs the tiny data set, starts `mlflow server` on a free port, logs the report, and reads it back with
MLflow's own client: parameters, figures, those of each epoch, and the report's files. Needs
`pip install mlflow`, which bench/requirements.txt leaves out as it is large: `make bench-mlflow`.
"""

import argparse
import json
import math
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import mlflow

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(url, server):
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{url}/health") as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
        if server.poll() is not None:
            break
    sys.exit("the server did not start")


def check(url, report):
    """Compares what the server has with the report."""
    client = mlflow.MlflowClient(url)
    experiment = client.get_experiment_by_name("demo runs")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"report", "bau", "popularity"}, set(runs)
    files = {file.path for file in client.list_artifacts(runs["report"].info.run_id)}
    assert files == {"report.html", "report.md", "report.json"}, files
    for of_report in report["experiments"]:
        if of_report["name"] not in runs:
            continue
        run = runs[of_report["name"]]
        assert run.data.tags["mlflow.parentRunId"] == runs["report"].info.run_id
        assert run.info.status == "FINISHED"
        assert math.isclose(run.data.metrics["item/macro_f1"], of_report["item"]["macro_f1"], rel_tol=1e-12)
        model = {"bau": ("train.epochs", "30"), "popularity": ("train.model", "popularity")}[of_report["name"]]
        assert run.data.params[model[0]] == model[1], run.data.params
        losses = client.get_metric_history(run.info.run_id, "epoch/valid_loss")
        found = {one.step: one.value for one in losses}
        expected = {epoch["epoch"]: epoch["valid_loss"] for epoch in of_report["history"]}
        assert found.keys() == expected.keys(), (found, expected)
        assert all(math.isclose(found[step], expected[step], rel_tol=1e-12) for step in found)
        print(f"{run.info.run_name}: {len(run.data.params)} parameters, {len(run.data.metrics)} metrics, "
              f"{len(losses)} epochs")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "target/release")
    args = parser.parse_args()
    pipeline = args.programs.resolve() / "pipeline"
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        for path in (ROOT / "tests/fixtures/tiny").iterdir():
            shutil.copy(path, work)
        shutil.copy(ROOT / "sample-stage/sql/everyone.sql", work)
        subprocess.run([pipeline, "run", "-q"], cwd=work, check=True, stdout=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
                   "--port", url.rsplit(":")[-1], "--backend-store-uri", f"sqlite:///{work}/mlflow.db",
                   "--artifacts-destination", str(work / "artifacts"), "--workers", "1"]
        with (work / "server.log").open("w") as log:
            server = subprocess.Popen(command, cwd=work, stdout=log, stderr=log)
        try:
            wait_for(url, server)
            export = [pipeline, "export", "bau", "popularity", "--format", "mlflow", "--to", url]
            for _ in range(2):  # the second finds the server's experiment
                subprocess.run([*export, "--name", "demo runs"], cwd=work, check=True)
            client = mlflow.MlflowClient(url)
            experiment = client.get_experiment_by_name("demo runs")
            all_runs = client.search_runs([experiment.experiment_id])
            assert len(all_runs) == 6, len(all_runs)
            check(url, json.loads((work / "runs/report/report.json").read_text()))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
