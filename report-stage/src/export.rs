//! The report for other programs: experiments as runs of an MLflow tracking server.

mod http; // requests to a server
mod mlflow; // the server's interface

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args as ClapArgs, ValueEnum};
use contract::cli::ManifestArgs;
use contract::exit::{DataError, UsageError};
use contract::plan::{Stage, StageId};
use contract::words::plural;
use contract::{nearest, warn_line};
use serde_json::{Map, Value, json};

use http::Server;
use mlflow::{Run, Tracking};

/// Arguments of `report-stage export`.
#[derive(ClapArgs)]
pub struct Args {
    /// Experiments to log [default: all of the report]
    #[arg(value_name = "EXPERIMENT")]
    experiments: Vec<String>,
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Where it goes
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// Address of the server, such as `http://localhost:5000`
    #[arg(long, value_name = "URL")]
    to: String,
    /// Name of the server's experiment, which is made if there is none [default: that of the manifest's
    /// folder]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// An MLflow tracking server: parameters, figures, those of each epoch, and the report
    Mlflow,
}

/// Files of the report that are logged.
const FILES: [(&str, &str); 3] = [
    ("report.html", "text/html"),
    ("report.md", "text/markdown"),
    ("report.json", "application/json"),
];

/// What of an experiment is figures, in `report.json`.
const FIGURES: [&str; 15] = [
    "buckets",
    "item",
    "user",
    "micro",
    "map",
    "ceiling",
    "n_undefined",
    "n_never_predicted",
    "predictions_per_user",
    "valid",
    "delta",
    "train_rows",
    "updates",
    "updates_kept",
    "secs",
];

/// Logs the report; returns what to print.
pub fn run(args: &Args) -> Result<String> {
    let Format::Mlflow = args.format;
    let manifest = args.manifest.load()?;
    let dir = manifest.stage_dir(&StageId::shared(Stage::Report));
    let report = read(&dir)?;
    let chosen = choose(&report, &args.experiments)?;
    let name = args.name.clone().unwrap_or_else(|| folder_name(&args.manifest.manifest));

    let tracking = Tracking::open(Server::at(&args.to)?, &name)?;
    let whole = tracking.start("report", None, &[])?;
    let mut is_kept = true;
    for (file, kind) in FILES {
        let bytes =
            fs::read(dir.join(file)).with_context(|| dir.join(file).display().to_string())?;
        is_kept &= tracking.put(&whole, file, kind, &bytes)?;
    }
    if !is_kept {
        warn_line!(
            "note: the server keeps files at {}, which only its own clients can write, so the report is \
             not there; a server with `--serve-artifacts` takes it",
            whole.artifact_uri
        );
    }
    for experiment in &chosen {
        log(&tracking, &whole, experiment)?;
    }
    tracking.finish(&whole)?;
    Ok(format!(
        "{} and the report logged to `{name}`\n{}/#/experiments/{}",
        plural(chosen.len() as u64, "experiment"),
        args.to.trim_end_matches('/'),
        tracking.experiment_id
    ))
}

fn read(dir: &Path) -> Result<Value> {
    let path = dir.join("report.json");
    let text = fs::read_to_string(&path).map_err(|err| {
        DataError(format!("{}: {err}\nhint: make the report with `pipeline run`", path.display()))
    })?;
    let report = serde_json::from_str(&text).map_err(|err| {
        DataError(format!(
            "{}: cannot be parsed: {err}\nhint: make the report again with `report-stage`",
            path.display()
        ))
    })?;
    Ok(report)
}

/// The experiments of the report that were named, all of those with figures if none was.
fn choose(report: &Value, named: &[String]) -> Result<Vec<Value>> {
    let all = report["experiments"].as_array().cloned().unwrap_or_default();
    let name = |experiment: &Value| experiment["name"].as_str().unwrap_or_default().to_owned();
    if named.is_empty() {
        return Ok(all.into_iter().filter(|one| one["status"] == "ok").collect());
    }
    let find = |wanted: &String| {
        all.iter().find(|one| name(one) == *wanted).cloned().ok_or_else(|| {
            let names: Vec<String> = all.iter().map(name).collect();
            let near = nearest(wanted, names.iter().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            UsageError(format!("the report has no experiment `{wanted}`{hint}")).into()
        })
    };
    named.iter().map(find).collect()
}

fn folder_name(manifest: &Path) -> String {
    let path = fs::canonicalize(manifest).unwrap_or_else(|_| PathBuf::from(manifest));
    let folder = path.parent().and_then(Path::file_name);
    folder.map_or("pipeline".into(), |name| name.to_string_lossy()).into_owned()
}

/// An experiment as a run within that of the report.
fn log(tracking: &Tracking, whole: &Run, experiment: &Value) -> Result<()> {
    let name = experiment["name"].as_str().unwrap_or("experiment");
    let verdict = experiment["verdict"].as_str().unwrap_or_default().to_owned();
    let run = tracking.start(name, Some(whole), &[("mlflow.note.content", verdict)])?;
    let mut params = Map::new();
    flatten("", &experiment["settings"], &mut params);
    let params = params
        .into_iter()
        .map(|(key, value)| (key, value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    tracking.log_params(&run, params.collect())?;

    let mut metrics = Vec::new();
    for figure in FIGURES {
        add_numbers(figure, &experiment[figure], None, &mut metrics);
    }
    for of_seed in experiment["seeds"].as_array().into_iter().flatten() {
        for figure in FIGURES {
            add_numbers(
                &format!("seed_{}/{figure}", of_seed["seed"]),
                &of_seed[figure],
                None,
                &mut metrics,
            );
        }
    }
    for epoch in experiment["history"].as_array().into_iter().flatten() {
        add_numbers("epoch", epoch, epoch["epoch"].as_i64(), &mut metrics);
    }
    tracking.log_metrics(&run, metrics)?;
    tracking.finish(&run)
}

/// The values of nested objects by their path, lists as JSON.
fn flatten(path: &str, value: &Value, into: &mut Map<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, into);
            }
        }
        Value::Null if path.is_empty() => {}
        _ => {
            into.insert(path.to_owned(), value.clone());
        }
    }
}

/// The numbers of nested objects by their path; of intervals both ends.
fn add_numbers(path: &str, value: &Value, step: Option<i64>, into: &mut Vec<mlflow::Metric>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                add_numbers(&format!("{path}/{key}"), value, step, into);
            }
        }
        Value::Array(ends) if path.ends_with("/ci95") && ends.len() == 2 => {
            for (end, value) in ["low", "high"].iter().zip(ends) {
                add_numbers(&format!("{path}/{end}"), value, step, into);
            }
        }
        Value::Number(number) => into.push(mlflow::Metric {
            key: path.to_owned(),
            value: json!(number),
            step: step.unwrap_or(0),
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_the_numbers_of_a_report_and_settings_all_of_its_values() {
        let experiment = json!({
            "item": {"macro_f1": 0.1, "by_tier": {"head": {"macro_f1": null}}, "by_volume": [1, 2]},
            "delta": {"item_f1": {"abs": 0.01, "ci95": [0.0, 0.02]}},
            "settings": {"train": {"hidden": [8, 8], "loss": {"kind": "bce"}}, "seed": 7},
        });
        let mut metrics = Vec::new();
        add_numbers("item", &experiment["item"], None, &mut metrics);
        add_numbers("delta", &experiment["delta"], Some(3), &mut metrics);
        let found: Vec<(&str, &Value, i64)> =
            metrics.iter().map(|m| (m.key.as_str(), &m.value, m.step)).collect();
        assert_eq!(
            found,
            [
                ("item/macro_f1", &json!(0.1), 0),
                ("delta/item_f1/abs", &json!(0.01), 3),
                ("delta/item_f1/ci95/low", &json!(0.0), 3),
                ("delta/item_f1/ci95/high", &json!(0.02), 3),
            ]
        );
        let mut params = Map::new();
        flatten("", &experiment["settings"], &mut params);
        let expected = json!({"train.hidden": [8, 8], "train.loss.kind": "bce", "seed": 7});
        assert_eq!(Value::Object(params), expected);
    }
}
