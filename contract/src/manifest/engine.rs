//! Where queries run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the queries of the holdout and sample stages run. The rows are the same.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Engine {
    /// In the stage's own process
    Local {},
    /// On several machines, on each of which `pipeline worker` runs. They see raw tables and
    /// `run_dir` under the same paths. Only in builds with `ENGINE=distributed`
    Distributed {
        /// Their addresses, such as `10.0.0.7:7070`
        #[schemars(length(min = 1, max = 1000))]
        workers: Vec<String>,
    },
}

impl Default for Engine {
    fn default() -> Self {
        Self::Local {}
    }
}

impl Engine {
    /// What is wrong with the address at a position of `workers`, if anything is.
    pub(super) fn problem(&self) -> Option<(usize, String)> {
        let Self::Distributed { workers } = self else { return None };
        workers.iter().enumerate().find_map(|(i, worker)| {
            let port = worker.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let is_address = port.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
                && !worker.contains(['/', '@', '?', '#', ' ']);
            if !is_address {
                let expected = "expected a host and a port, such as `10.0.0.7:7070`";
                return Some((i, format!("`{worker}` is no address, {expected}")));
            }
            workers[..i].contains(worker).then(|| (i, format!("`{worker}` is listed twice")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_a_host_and_a_port() {
        let problem = |workers: &[&str]| {
            let workers = workers.iter().map(|&worker| worker.to_owned()).collect();
            Engine::Distributed { workers }.problem().map(|(i, _)| i)
        };
        assert_eq!(problem(&["10.0.0.7:7070", "db-2.internal:1", "[::1]:7070"]), None);
        assert_eq!(problem(&["a:1", "http://b:1"]), Some(1));
        for wrong in ["a", "a:", ":7070", "a:70700", "a:1/x", "user@a:1"] {
            assert_eq!(problem(&[wrong]), Some(0), "{wrong}");
        }
        assert_eq!(problem(&["a:1", "b:1", "a:1"]), Some(2));
        assert_eq!(Engine::default().problem(), None);
    }
}
