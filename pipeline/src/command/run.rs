//! `pipeline run`: runs what is stale, in order.

use std::time::Instant;

use anyhow::Result;
use contract::cli::{self, ManifestArgs};
use contract::exit::{EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED};
use contract::manifest::{is_of_experiment, name_experiments};
use contract::plan::StageId;
use contract::{Manifest, print_line, warn_line};
use serde_json::json;

use super::check::warn;
use super::history::has_failed;
use super::preview;
use crate::args::{NothingSelected, RunArgs};
use crate::graph::{Node, nodes};
use crate::outcome::Outcome;
use crate::recorder::{Recorder, runs};
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
    let Selected { manifest, set_in, nodes } = select(args)?;
    cli::say_notes(&manifest, None);
    warn(&manifest);
    if args.dry_run {
        preview::preview(&manifest, &nodes, args.force, args.json);
        return Ok(EXIT_DONE);
    }
    let _lock = run_dir::lock(&manifest.run_dir)?;
    // Stages do not get Ctrl-C from the terminal, as they are in process groups of their own.
    catch_interrupts()?;
    let mut recorder = Recorder::begin(&manifest)?;
    let started = Instant::now();
    let mut hashes = run_dir::load_hashes(&manifest.run_dir);
    let set = args.manifest.set.iter().flat_map(|set| name_experiments(set, &set_in)).collect();
    let for_stages = ManifestArgs { manifest: args.manifest.manifest.clone(), set };
    let store = Store::of(&manifest.run_dir);
    let ended = Scheduler::new(&nodes, args, for_stages, store, &mut hashes, &mut recorder).run();
    run_dir::save_hashes(&manifest.run_dir, &hashes);
    let outcome = *ended.as_ref().unwrap_or(&Outcome::Failed);
    let run = recorder.end(outcome)?;
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
            if !args.quiet {
                warn_line!("pipeline: done in {:.1} s", started.elapsed().as_secs_f64());
            }
            EXIT_DONE
        }
        Outcome::Failed | Outcome::Running => EXIT_FAILED,
    })
}

/// What a run is about.
struct Selected {
    manifest: Manifest,
    /// Experiments in which values of `--set` are set; empty if in the settings that all start from
    set_in: Vec<String>,
    nodes: Vec<Node>,
}

/// Loads the manifest and finds the selected stages.
fn select(args: &RunArgs) -> Result<Selected> {
    let ManifestArgs { manifest: path, set } = &args.manifest;
    // Values of `--set` may add experiments, which can be selected. All other values are set in the
    // selected experiments, which are not known yet.
    let of_manifest: Vec<String> =
        set.iter().filter(|set| !is_of_experiment(set)).cloned().collect();
    let manifest = Manifest::load(path, &of_manifest, &[])?;
    let mut experiments = args.selection.experiments(&manifest)?;
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
    let is_of_all = args.selection.is_of_all() && !args.failed;
    let set_in = if is_of_all { Vec::new() } else { experiments.clone() };
    let manifest = Manifest::load(path, set, &set_in)?;
    let nodes = args.selection.nodes(&manifest, &experiments)?;
    if nodes.is_empty() {
        return Err(NothingSelected("the experiments have no such stage".to_owned()).into());
    }
    Ok(Selected { manifest, set_in, nodes })
}
