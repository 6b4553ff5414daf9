//! Turns a model's probabilities into decisions.
//!
//! Thresholds are fitted on `valid`, then used on `test`; `predict` uses them for new users.

mod audience; // the users of brands, best first
mod calibrate; // logits -> probabilities, from the valid users
mod decide; // logits -> decisions
mod drift; // whether new users are like the test users
mod experiment; // an experiment's scoring, pass by pass
mod fit; // thresholds from the valid users
mod folds; // valid users judged by what the others say
mod history; // brands that a user had before, calibrated apart
mod labels; // the brands that users have
mod models; // an experiment's model, and that before a refit
mod neighbours; // what the nearest training users have, mixed into the probabilities
mod predict; // decisions for new users, from their files to files of predictions
mod scorer; // batches of users through the model
mod split; // the users of valid or test
mod table; // Arrow columns of the tables written
mod top_k; // the largest of many values

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use contract::Stage;
use contract::cli::{self, ExperimentArgs, ManifestArgs};

/// Turn a model's probabilities into decisions
///
/// Without a command, scores one experiment of the manifest: reads its model and the shared
/// brands, valid and test; writes thresholds, scores, histogram and trade-off under
/// `run_dir/EXPERIMENT/score`. Running it twice gives the same bytes.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Experiment of the manifest
    #[arg(long, value_name = "NAME", required = true)]
    experiment: Option<String>,
    /// With `seeds` in the manifest, score only this one's training [default: one after the other]
    #[arg(long, value_name = "NUM")]
    seed: Option<u64>,
}

#[derive(Subcommand)]
enum Command {
    /// Decide for new users with stored thresholds
    ///
    /// Reads users with the model's features, checks them as training does, and writes each user's
    /// predicted brands. `pipeline predict` does all that and also runs a query that gives users. A
    /// killed program goes on where it was when it is run again, and ends with the same bytes.
    Predict(predict::Args),
    /// Write the users of brands, best first, with what to expect of them
    ///
    /// Reads users and a model as `predict` does; `pipeline audience` also runs a query that gives users.
    Audience(audience::Args),
}

fn main() -> ExitCode {
    let args: Args = cli::parse();
    cli::main("score-stage", || match args.command {
        Some(Command::Predict(args)) => predict::run(&args),
        Some(Command::Audience(args)) => audience::run(&args),
        None => {
            let experiment = args.experiment.expect("required without a command");
            let args = ExperimentArgs { manifest: args.manifest, experiment, seed: args.seed };
            args.run_each(Stage::Score, experiment::score)
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
