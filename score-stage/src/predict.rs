//! Decisions for new users, with stored thresholds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use arrow::array::{Array as _, ArrayRef};
use clap::{Args as ClapArgs, ValueEnum};
use contract::commands;
use contract::exit::{DataError, UsageError};
use contract::ipc::{self, Writer};
use contract::words::plural;
use contract::{ids, tables, thresholds, warn_line};
use model::Model;

use crate::decide::{Decider, NEVER, Rule};
use crate::models::to_model;
use crate::neighbours::Neighbours;
use crate::neighbours::blend::Blend;
use crate::new_users::NewUsers;
use crate::scorer::{History, Scorer};
use crate::table::{self, Thresholds};

#[derive(ClapArgs)]
pub struct Args {
    /// Model to use, for example `runs/bau/train/model.arrow`
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Users to decide for: an Arrow IPC file or stream with `user_id` and the model's features
    #[arg(long, value_name = "FILE")]
    users: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Thresholds to use; by default those of the model's experiment, `../score/thresholds.arrow`
    #[arg(long, value_name = "FILE")]
    thresholds: Option<PathBuf>,
    /// Choose the best brands for each user or the best users for each brand, instead of following
    /// the experiment's policy
    #[arg(long = "for", value_name = "WHOM")]
    best_for: Option<BestFor>,
    /// Number of most probable brands to write for each user
    #[arg(long, value_name = "NUM", default_value_t = 20)]
    top_k: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum BestFor {
    /// For each user the brands with the highest expected F1
    Users,
    /// For each brand the users with the highest expected F1
    Brands,
}

/// Decides for the users of a file; returns what to print.
pub fn run(args: &Args) -> Result<String> {
    check_output(args)?;
    let model = to_model(&ipc::read_unmapped(&args.model, &tables::MODEL)?)?;
    let Thresholds { decider, weights, lines } = read_thresholds(args, &model)?;
    let neighbours = read_neighbours(args, &model, &weights)?;
    let blend = neighbours.as_ref().map(|neighbours| Blend { neighbours, weights: &weights });
    let scorer = Scorer { model: &model, blend, history: History::All(lines.as_ref()) };

    let in_file = || args.users.display().to_string();
    let users = NewUsers::open(&args.users, &model).with_context(in_file)?;
    let ids = users.ids.clone();
    let fields = table::score_fields(&ids, false);
    let mut writer = Writer::create(&args.output, &tables::PREDICTIONS, fields, HashMap::new())?;
    let mut first = 0;
    users
        .for_each_group(|group| {
            let inputs = model.inputs(&group).map_err(DataError)?;
            let mut not_finite = None;
            scorer.for_each_batch(&inputs, 0..group.n_rows(), "users", |scored| {
                let row = first + scored.first;
                let is_not_finite = |(_, z): &(_, &f32)| !z.is_finite();
                if let Some(((user, _), _)) = scored.logits.indexed_iter().find(is_not_finite) {
                    not_finite = not_finite.or(Some(row + user));
                    return Ok(());
                }
                let decisions = decider.decide(scored.logits, args.top_k);
                writer.write(table::scores(&ids, row, None, &decisions))
            })?;
            if let Some(row) = not_finite {
                return Err(overflow(&ids, row).into());
            }
            first += group.n_rows();
            Ok(())
        })
        .with_context(in_file)?;
    writer.finish()?.commit()?;
    let n_users = plural(ids.len() as u64, "user");
    Ok(format!("predicted for {n_users}\n{}", args.output.display()))
}

impl Args {
    /// The thresholds that were named, or those that scoring puts beside the model.
    fn thresholds(&self) -> PathBuf {
        self.thresholds.clone().unwrap_or_else(|| {
            let experiment = self.model.parent().and_then(Path::parent);
            experiment.unwrap_or(Path::new("..")).join("score/thresholds.arrow")
        })
    }

    /// The neighbours that belong to the thresholds.
    fn memory(&self) -> PathBuf {
        self.thresholds().with_file_name("memory.arrow")
    }
}

/// Refuses to replace a file that is read.
fn check_output(args: &Args) -> Result<(), UsageError> {
    let Ok(output) = args.output.canonicalize() else { return Ok(()) };
    let inputs = [&args.model, &args.users, &args.thresholds(), &args.memory()];
    let is_input = |path: &&&PathBuf| path.canonicalize().is_ok_and(|input| input == output);
    match inputs.iter().find(is_input) {
        Some(input) => Err(UsageError(format!(
            "`--output` is {}, which is read; name another file",
            input.display()
        ))),
        None => Ok(()),
    }
}

/// The neighbours; `None` where they weigh nothing, as scoring writes no file then.
fn read_neighbours(args: &Args, model: &Model, weights: &[f32]) -> Result<Option<Neighbours>> {
    if weights.iter().all(|&weight| weight == 0.0) {
        return Ok(None);
    }
    let table = ipc::read_unmapped(&args.memory(), &tables::MEMORY)?;
    Ok(Some(Neighbours::from_table(&table, model)?))
}

/// The thresholds, if they were fitted for the model.
fn read_thresholds(args: &Args, model: &Model) -> Result<Thresholds> {
    let path = args.thresholds();
    let shown = path.display();
    ensure!(
        path.exists(),
        DataError(format!(
            "{shown}: there are no thresholds for the model\n\
             hint: score it first, for example with `{}`, or name its thresholds with \
             `--thresholds`",
            commands::stage("score", "NAME")
        ))
    );
    let table = ipc::read_unmapped(&path, &tables::THRESHOLDS)?;
    let of_another = |what: &str| {
        DataError(format!(
            "{shown}: {what} {}\nhint: score the model first, for example with `{}`, or name its \
             own thresholds with `--thresholds`",
            args.model.display(),
            commands::stage("score", "NAME")
        ))
    };
    match thresholds::are_of_model(&table, &model.hash()) {
        Some(true) => {}
        Some(false) => return Err(of_another("fitted for another model than").into()),
        None => warn_line!(
            "score-stage: warning: {shown} was written by an earlier version and does not say which \
             model it was fitted for; only the number of brands is checked"
        ),
    }
    let thresholds = table::read_thresholds(&table)?;
    let (found, n_brands) = (thresholds.decider.n_brands(), model.brand_ids.len());
    ensure!(
        found == n_brands,
        of_another(&format!("fitted for {found} brands, not for the {n_brands} of"))
    );
    let Some(best_for) = args.best_for else { return Ok(thresholds) };
    let is_expected = thresholds.decider.brands().iter().any(|brand| brand.expected.is_some());
    ensure!(
        is_expected || matches!(best_for, BestFor::Users),
        DataError(format!(
            "{shown}: does not say what F1 to expect, which `--for brands` needs\n\
             hint: score again, with `{}`",
            commands::stage("score", "NAME")
        ))
    );
    Ok(Thresholds { decider: best_for.decider(thresholds.decider), ..thresholds })
}

impl BestFor {
    fn decider(self, decider: Decider) -> Decider {
        match self {
            Self::Users => decider.with_rule(Rule::Gain { brand_share: 0.0 }),
            Self::Brands => decider
                .with_rule(Rule::Brand)
                .with_thresholds(|brand| brand.expected.map_or(NEVER, |e| e.threshold())),
        }
    }
}

/// A logit overflowed: the user's features, or the model's weights, are too large.
fn overflow(ids: &ArrayRef, row: usize) -> DataError {
    DataError(format!(
        "users: user {}: the model's output is not finite; the features may be far outside the \
         range that the model was trained on",
        ids::shown(ids, row)
    ))
}
