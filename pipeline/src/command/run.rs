//! `pipeline run`: runs what is stale, in order.

use std::time::Instant;

use anyhow::Result;
use contract::cli::{self, ManifestArgs};
use contract::exit::{EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, UsageError};
use contract::hashes::Hashes;
use contract::manifest::{is_of_experiment, name_experiments, sweep_as_set};
use contract::outcome::Outcome;
use contract::plan::StageId;
use contract::runs::{Recorder, StageEnd, runs};
use contract::words::plural;
use contract::{Manifest, print_line, warn_line};
use serde_json::json;

use super::check::warn;
use super::history::has_failed;
use super::preview;
use crate::args::{NothingSelected, RunArgs};
use crate::graph::{Node, nodes};
use crate::halving::{Run, halve};
use crate::run_dir;
use crate::schedule::{Scheduler, catch_interrupts};
use crate::store::Store;

/// Runs the selected stages that are stale. The result is the exit code, which tells whether a stage
/// failed.
///
/// # Errors
///
/// A mistake in the manifest, [`NothingSelected`], a folder that cannot be written, another run at work.
pub fn run(args: &RunArgs) -> Result<u8> {
    let selected = select(args)?;
    execute(args, &selected)
}

/// Runs what was selected. The result is the exit code.
///
/// # Errors
///
/// As [`run`], of what comes after the selection.
pub fn execute(args: &RunArgs, Selected { manifest, set, nodes }: &Selected) -> Result<u8> {
    cli::say_notes(manifest, None);
    warn(manifest);
    if args.how.dry_run {
        preview::preview(manifest, nodes, args);
        return Ok(EXIT_DONE);
    }
    let _lock = run_dir::lock(&manifest.run_dir)?;
    // Stages do not get Ctrl-C from the terminal, as they are in process groups of their own.
    catch_interrupts()?;
    Recorder::clear(manifest);
    let started = Instant::now();
    let mut running = Running {
        args,
        manifest,
        for_stages: ManifestArgs { manifest: args.manifest.manifest.clone(), set: set.clone() },
        hashes: run_dir::load_hashes(&manifest.run_dir),
        recorder: Recorder::begin(manifest)?,
    };
    let ended = running.all(nodes);
    run_dir::save_hashes(&manifest.run_dir, &running.hashes);
    let outcome = *ended.as_ref().unwrap_or(&Outcome::Failed);
    let run = running.recorder.end(outcome)?;
    ended?;
    if args.json {
        print_line!("{:#}", json!(run));
    }
    Ok(match outcome {
        Outcome::Interrupted => {
            warn_line!("pipeline: interrupted; run `pipeline run` again to continue");
            EXIT_INTERRUPTED
        }
        Outcome::Done => {
            if !args.how.quiet {
                warn_line!("pipeline: done in {:.1} s", started.elapsed().as_secs_f64());
            }
            EXIT_DONE
        }
        Outcome::Failed | Outcome::Running => EXIT_FAILED,
    })
}

/// A run at work.
struct Running<'a> {
    args: &'a RunArgs,
    manifest: &'a Manifest,
    for_stages: ManifestArgs,
    hashes: Hashes,
    recorder: Recorder,
}

impl Running<'_> {
    /// Ends hopeless trainings where a matrix asks for it, then runs what is left.
    fn all(&mut self, nodes: &[Node]) -> Result<Outcome> {
        let keep_going = self.args.how.keep_going;
        let (before, left) = halve(self.manifest, nodes.to_vec(), keep_going, self)?;
        if before == Outcome::Interrupted || before == Outcome::Failed && !keep_going {
            return Ok(before);
        }
        let outcome = self.run(&left)?;
        Ok(if outcome == Outcome::Done { before } else { outcome })
    }
}

impl Run for Running<'_> {
    fn run(&mut self, nodes: &[Node]) -> Result<Outcome> {
        let store = Store::of(&self.manifest.run_dir);
        let (hashes, recorder) = (&mut self.hashes, &mut self.recorder);
        Scheduler::new(nodes, self.args, self.for_stages.clone(), store, hashes, recorder).run()
    }

    fn record(&mut self, node: &Node, end: StageEnd) -> Result<()> {
        self.recorder.add(&node.plan, end, None)
    }

    fn hashes(&mut self) -> &mut Hashes {
        &mut self.hashes
    }

    fn say(&self, text: &str) {
        if !self.args.how.quiet {
            warn_line!("{text}");
        }
    }
}

/// What a run is about.
pub struct Selected {
    pub manifest: Manifest,
    /// Values that are set in the manifest, each with the experiment in which it is set
    pub set: Vec<String>,
    pub nodes: Vec<Node>,
}

/// Loads the manifest and finds the selected stages.
///
/// # Errors
///
/// As [`run`], of what comes before the first stage.
pub fn select(args: &RunArgs) -> Result<Selected> {
    let ManifestArgs { manifest: path, set } = &args.manifest;
    // Values of `--set` may add experiments, which can be selected. All other values are set in the
    // selected experiments, which are not known yet.
    let mut of_manifest: Vec<String> =
        set.iter().filter(|set| !is_of_experiment(set)).cloned().collect();
    let manifest = Manifest::load(path, &of_manifest, &[])?;
    let mut experiments = args.selection.names.experiments(&manifest)?;
    let sweeps = sweeps(args, &experiments)?;
    let manifest = if sweeps.is_empty() {
        manifest
    } else {
        of_manifest.extend(sweeps.iter().cloned());
        let swept = Manifest::load(path, &of_manifest, &[])?;
        experiments = args.selection.names.experiments(&swept)?;
        swept
    };
    if experiments.is_empty() {
        let names: Vec<&str> = manifest.experiments().map(|e| &*e.name).collect();
        let names = names.join(", ");
        let why = format!("no experiment matches; the experiments are {names}");
        return Err(NothingSelected(why).into());
    }
    if args.failed {
        let planned = nodes(&manifest, &[])?;
        let is_planned = |id: &StageId| planned.iter().any(|node| node.plan.id == *id);
        experiments.retain(has_failed(runs(&manifest), is_planned));
        if experiments.is_empty() {
            let why = "no stage of the experiments failed in its last run";
            return Err(NothingSelected(why.to_owned()).into());
        }
    }
    let is_of_all = args.selection.names.is_of_all() && !args.failed;
    let set_in = if is_of_all { Vec::new() } else { experiments.clone() };
    let manifest = Manifest::load(path, &[&set[..], &sweeps[..]].concat(), &set_in)?;
    let named = set.iter().flat_map(|set| name_experiments(set, &set_in));
    let set: Vec<String> = named.chain(sweeps).collect();
    if args.is_sweep || !args.sweep.is_empty() {
        // The report compares with it.
        experiments.push(manifest.baseline.clone());
    }
    let nodes = args.selection.nodes(&manifest, &experiments)?;
    if nodes.is_empty() {
        return Err(NothingSelected("the experiments have no such stage".to_owned()).into());
    }
    Ok(Selected { manifest, set, nodes })
}

/// Arguments of `--set` for those of `--sweep`, which vary the one experiment that is selected.
fn sweeps(args: &RunArgs, experiments: &[String]) -> Result<Vec<String>> {
    let base = match experiments {
        _ if args.sweep.is_empty() => return Ok(Vec::new()),
        [base] if !args.selection.names.is_of_all() => base,
        several => {
            let found = plural(several.len() as u64, "experiment");
            let what = format!(
                "`--sweep` varies one experiment, but {found} are selected\n\
                 hint: name one, as in `pipeline run bau --sweep {}`",
                args.sweep[0]
            );
            return Err(UsageError(what).into());
        }
    };
    let as_set = |sweep: &String| {
        sweep_as_set(base, sweep)
            .map_err(|why| UsageError(format!("--sweep {sweep}: {why}")).into())
    };
    args.sweep.iter().map(as_set).collect()
}
