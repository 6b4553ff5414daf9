//! MLflow's tracking server: <https://mlflow.org/docs/latest/rest-api.html>.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::http::{Answer, Server};

/// Most metrics and parameters that a request may have.
const MAX_METRICS: usize = 1000;
const MAX_PARAMS: usize = 100;

/// Longest value of a parameter, in characters.
const MAX_PARAM: usize = 6000;

/// Where runs go.
pub struct Tracking {
    server: Server,
    /// The server's number of the experiment
    pub experiment_id: String,
}

/// A run that was started.
pub struct Run {
    id: String,
    /// Where its files are
    pub artifact_uri: String,
}

/// A figure.
pub struct Metric {
    pub key: String,
    /// A number
    pub value: Value,
    /// Epoch; 0 for figures of the end
    pub step: i64,
}

impl Tracking {
    /// Finds the experiment of a name, or makes it.
    ///
    /// # Errors
    ///
    /// A server that cannot be reached, or is none.
    pub fn open(server: Server, name: &str) -> Result<Self> {
        let path =
            format!("/api/2.0/mlflow/experiments/get-by-name?experiment_name={}", encoded(name));
        let Answer { status, body } = server.request("GET", &path, None)?;
        let found = if status == 404 {
            let body = json!({"name": name});
            server.json("POST", "/api/2.0/mlflow/experiments/create", Some(&body))?
        } else {
            let said = String::from_utf8_lossy(&body).into_owned();
            ensure!(status == 200, "the server answered {status}: {}", said.trim());
            let found: Value =
                serde_json::from_slice(&body).context("the answer is not that of MLflow")?;
            found["experiment"].clone()
        };
        let experiment_id = text(&found, "experiment_id")?;
        Ok(Self { server, experiment_id })
    }

    /// Starts a run.
    ///
    /// * `within`: the run that it is a part of.
    pub fn start(&self, name: &str, within: Option<&Run>, tags: &[(&str, String)]) -> Result<Run> {
        let tag = |(key, value): (&str, &String)| json!({"key": key, "value": value});
        let parent = within.map(|run| ("mlflow.parentRunId", &run.id));
        let own = tags.iter().map(|(key, value)| (*key, value));
        let tags: Vec<Value> = parent.into_iter().chain(own).map(tag).collect();
        let body = json!({
            "experiment_id": self.experiment_id, "run_name": name, "start_time": now(), "tags": tags,
        });
        let run = self.post("runs/create", &body)?;
        let info = &run["run"]["info"];
        Ok(Run { id: text(info, "run_id")?, artifact_uri: text(info, "artifact_uri")? })
    }

    /// Logs parameters of a run.
    pub fn log_params(&self, run: &Run, params: Vec<(String, String)>) -> Result<()> {
        for some in params.chunks(MAX_PARAMS) {
            let param = |(key, value): &(String, String)| {
                let value: String = value.chars().take(MAX_PARAM).collect();
                json!({"key": key_of(key), "value": value})
            };
            let params: Vec<Value> = some.iter().map(param).collect();
            self.post("runs/log-batch", &json!({"run_id": run.id, "params": params}))?;
        }
        Ok(())
    }

    /// Logs figures of a run.
    pub fn log_metrics(&self, run: &Run, metrics: Vec<Metric>) -> Result<()> {
        let timestamp = now();
        for some in metrics.chunks(MAX_METRICS) {
            let metric = |Metric { key, value, step }: &Metric| json!({"key": key_of(key), "value": value, "step": step, "timestamp": timestamp});
            let metrics: Vec<Value> = some.iter().map(metric).collect();
            self.post("runs/log-batch", &json!({"run_id": run.id, "metrics": metrics}))?;
        }
        Ok(())
    }

    /// Keeps a file with a run. Returns `false` if the server does not take files.
    ///
    /// # Errors
    ///
    /// If it refuses this one.
    pub fn put(&self, run: &Run, name: &str, kind: &str, bytes: &[u8]) -> Result<bool> {
        let Some(place) = run.artifact_uri.strip_prefix("mlflow-artifacts:") else {
            return Ok(false);
        };
        // `mlflow-artifacts:/1/RUN/artifacts`, or with the server's name after two slashes.
        let place = match place.strip_prefix("//") {
            Some(named) => named.find('/').map_or("", |at| &named[at..]),
            None => place,
        };
        let path = format!("/api/2.0/mlflow-artifacts/artifacts{place}/{name}");
        let Answer { status, body } = self.server.request("PUT", &path, Some((kind, bytes)))?;
        let said = String::from_utf8_lossy(&body).into_owned();
        ensure!(status == 200, "PUT {path}: the server answered {status}: {}", said.trim());
        Ok(true)
    }

    /// Ends a run.
    pub fn finish(&self, run: &Run) -> Result<()> {
        let body = json!({"run_id": run.id, "status": "FINISHED", "end_time": now()});
        self.post("runs/update", &body)?;
        Ok(())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.server.json("POST", &format!("/api/2.0/mlflow/{path}"), Some(body))
    }
}

fn text(value: &Value, key: &str) -> Result<String> {
    let text = value[key].as_str().map(str::to_owned);
    text.with_context(|| format!("the answer of the server has no `{key}`; is it MLflow's?"))
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

/// A key as the server takes it: letters, digits and `_-. :/`.
fn key_of(key: &str) -> String {
    let is_taken = |c: char| c.is_alphanumeric() || "_-. :/".contains(c);
    key.chars().map(|c| if is_taken(c) { c } else { '_' }).collect()
}

/// Text within an address.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_fit_for_keys_and_addresses() {
        assert_eq!(key_of("train.loss=kind/0.5 (a)"), "train.loss_kind/0.5 _a_");
        assert_eq!(encoded("my runs/é"), "my%20runs%2F%C3%A9");
    }
}
