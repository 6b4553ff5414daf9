//! The users of a brand, best first: how many to expect of whom, then who they are.

mod cut; // where an audience ends
mod gather; // the users of each brand

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use arrow::array::Array as _;
use clap::Args as ClapArgs;
use contract::audience::{Audience, Audiences};
use contract::exit::UsageError;
use contract::words::{count, plural};
use contract::{nearest, warn_line};
use metrics::calibration::sigmoid;
use metrics::{Histogram, HistogramBuilder, OwnedLists};
use model::sigmoid::logit;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis};
use raw_tables::RawTable;
use serde_json::json;

use crate::decide::{Decider, NEVER, Rule, UserDecision};
use crate::drift::{self, Counts, Watch};
use crate::predict::brands::Brands;
use crate::predict::files::{Format, Place};
use crate::predict::job::Job;
use crate::predict::sources::{Loaded, Sources};
use crate::predict::stream::{self, Event};
use crate::predict::users::NewUsers;
use crate::predict::{DriftArgs, Users, WhichModel};
use cut::{Cut, Size};
use gather::{Decisions, Wanted};

#[derive(ClapArgs)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    model: WhichModel,
    #[command(flatten)]
    users: Users,
    #[command(flatten)]
    drift: DriftArgs,
    /// Brands, by id or name [default: all]
    #[arg(value_name = "BRAND")]
    named: Vec<String>,
    #[command(flatten)]
    size: SizeArgs,
    /// File to write, by its ending .parquet, .csv or .arrow, also in a store, as `s3://bucket/a.csv`; a
    /// name without an ending is a folder with a file for each brand
    #[arg(long, value_name = "PATH", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Format of the files of a folder [default: parquet]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Only print what to expect
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print JSON, of all brands
    #[arg(long)]
    json: bool,
}

/// How large audiences are; by default as large as each brand's threshold makes them.
#[derive(ClapArgs)]
#[group(multiple = false)]
struct SizeArgs {
    /// So many users of each brand
    #[arg(long, value_name = "NUM", value_parser = clap::value_parser!(u64).range(1..))]
    size: Option<u64>,
    /// This share of the users, such as 0.02
    #[arg(long, value_name = "SHARE", value_parser = share)]
    share: Option<f64>,
    /// As many users as keep the expected precision at this, such as 0.3
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_precision: Option<f64>,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a number above 0, at most 1".to_owned()),
    }
}

/// Makes audiences; returns what to print.
pub fn run(args: &Args) -> Result<String> {
    let sources = Sources::find(&args.model)?;
    let place = args.output.as_ref().filter(|_| !args.dry_run);
    let place = place
        .map(|path| Place::of(path, args.format, gather::PREFIX, sources.scratch()))
        .transpose()?;
    let options = sources.users(args.users.users.as_deref())?;
    if let Some(place) = &place {
        place.check_inputs(&sources.files(), &options)?;
    }
    let loaded = sources.load(None)?;
    let chosen = choose(&loaded.brands, &args.named)?;

    let table = RawTable::open("users", &options)?;
    let users = args.users.named(NewUsers::open(&table, &loaded.model, &sources))?;
    // An audience is no decision of the experiment's policy.
    let watch = args.drift.watch(&loaded, &users, false)?;
    let counted = count_users(&loaded, &users, watch.as_ref(), &chosen);
    let (counted, counts) = args.users.named(counted)?;
    let n_users = users.n_users as u64;
    let size = |brand| args.size.of(brand, &loaded.decider, n_users);
    let cuts: Vec<Cut> =
        chosen.iter().enumerate().map(|(i, &b)| Cut::of(counted.brand(i), size(b))).collect();
    let audience = |(&brand, cut): (&usize, &Cut)| audience(&loaded.brands, brand, cut);
    let mut audiences = Audiences {
        n_users,
        output: place.as_ref().map(Place::shown),
        brands: chosen.iter().zip(&cuts).map(audience).collect(),
        drift: drift::of(watch, counts.as_ref(), &loaded.brands),
    };
    if let Some(place) = &place {
        let written = Written { loaded: &loaded, users: &users, chosen: &chosen, cuts: &cuts };
        let made = written.write(place, args.users.part_users, &mut audiences.brands);
        args.users.named(made)?;
    }
    let text = if args.json { format!("{:#}", json!(audiences)) } else { shown(&audiences) };
    args.drift.end(&audiences.drift, text)
}

/// Positions of the brands that were named; all if none was.
fn choose(brands: &Brands, named: &[String]) -> Result<Vec<usize>, UsageError> {
    if named.is_empty() {
        return Ok((0..brands.names.len()).collect());
    }
    let ids = brands.id_texts();
    let mut chosen = Vec::new();
    for name in named {
        let found = match ids.iter().position(|id| id == name) {
            Some(found) => found,
            None => by_name(brands, &ids, name)?,
        };
        if !chosen.contains(&found) {
            chosen.push(found);
        }
    }
    Ok(chosen)
}

/// The only brand of a name that is no id.
fn by_name(brands: &Brands, ids: &[String], name: &str) -> Result<usize, UsageError> {
    let has_name = |&brand: &usize| brands.names.value(brand) == name;
    let found: Vec<usize> = (0..ids.len()).filter(has_name).collect();
    match found[..] {
        [found] => Ok(found),
        [] => {
            let names = brands.names.iter().flatten();
            let near = nearest(name, ids.iter().map(String::as_str).chain(names));
            // Any name of a letter or two is near another.
            let near = near.filter(|_| name.chars().count() > 2);
            let hint = near.map_or_else(
                || format!("there are {} brands, such as `{}`", ids.len(), ids[0]),
                |near| format!("did you mean `{near}`?"),
            );
            Err(UsageError(format!(
                "no brand that is predicted has the id or the name `{name}`; {hint}"
            )))
        }
        _ => {
            let same: Vec<String> =
                found.iter().map(|&brand| format!("`{}`", ids[brand])).collect();
            Err(UsageError(format!(
                "{} brands have the name `{name}`; say which by its id: {}",
                found.len(),
                same.join(", ")
            )))
        }
    }
}

impl SizeArgs {
    /// * `n_users`: of the table.
    fn of(&self, brand: usize, decider: &Decider, n_users: u64) -> Size {
        match *self {
            Self { size: Some(n), .. } => Size::Users(n),
            Self { share: Some(share), .. } => Size::Users((share * n_users as f64).round() as u64),
            Self { min_precision: Some(precision), .. } => Size::Precision(precision),
            _ => Size::From(threshold(brand, decider)),
        }
    }
}

/// Log-odds of a brand's threshold: its own, or that of its best expected F1 where the policy looks at a
/// user's other brands, too.
fn threshold(brand: usize, decider: &Decider) -> f32 {
    let brand = &decider.brands()[brand];
    let prob = match decider.rule() {
        Rule::Brand => brand.threshold,
        Rule::TopK { .. } | Rule::Gain { .. } => brand.expected.map_or(NEVER, |e| e.threshold()),
    };
    logit(prob) as f32
}

/// Pass 1: users by the log-odds of each chosen brand, and what they are compared by. Says what of the
/// users the model does not know.
fn count_users(
    loaded: &Loaded,
    users: &NewUsers,
    watch: Option<&Watch>,
    chosen: &[usize],
) -> Result<(Histogram, Option<Counts>)> {
    let mut counted = HistogramBuilder::new(chosen.len());
    let (mut counts, mut n_scored) = (watch.map(Watch::empty), 0);
    let mut seen = users.none_seen();
    let n_users = users.n_users;
    stream::for_each(loaded, users, n_users.max(1), 0..n_users, |event| {
        let watched = watch.zip(counts.as_mut());
        match event {
            Event::Scored { logits, .. } => {
                if let Some((watch, counts)) = watched {
                    watch.add_scored(logits, &[], n_scored, counts);
                }
                n_scored += logits.nrows();
                let cells = log_odds(&loaded.decider, logits, chosen);
                let unlabelled = OwnedLists::empty(logits.nrows());
                counted.add_rows(cells.as_slice().expect("made here"), unlabelled.as_lists());
            }
            Event::GroupEnds { users, seen: more, .. } => {
                NewUsers::add_seen(&mut seen, more);
                if let Some((watch, counts)) = watched {
                    watch.add_features(users, n_scored - users.n_rows(), counts);
                }
            }
        }
        Ok(())
    })?;
    for note in users.notes(seen)? {
        warn_line!("{note}");
    }
    Ok((counted.build(), counts))
}

/// Log-odds of the calibrated probabilities, `(n_users, chosen.len())`.
fn log_odds(decider: &Decider, logits: ArrayView2<f32>, chosen: &[usize]) -> Array2<f32> {
    let mut cells = Array2::zeros((logits.nrows(), chosen.len()));
    let rows = cells.axis_iter_mut(Axis(0)).into_par_iter().zip(logits.axis_iter(Axis(0)));
    rows.for_each_init(Vec::new, |all, (mut into, logits)| {
        decider.log_odds(logits, all);
        into.iter_mut().zip(chosen).for_each(|(cell, &brand)| *cell = all[brand]);
    });
    cells
}

fn audience(brands: &Brands, brand: usize, cut: &Cut) -> Audience {
    Audience {
        brand_id: brands.id_text(brand),
        brand_name: brands.names.value(brand).to_owned(),
        n_users: cut.n_users,
        from_prob: (cut.n_users > 0).then(|| sigmoid(cut.from.into())),
        expected_precision: cut.precision(),
        expected_recall: cut.recall(),
    }
}

/// Pass 2: the users themselves.
struct Written<'a> {
    loaded: &'a Loaded,
    users: &'a NewUsers<'a>,
    chosen: &'a [usize],
    cuts: &'a [Cut],
}

impl Written<'_> {
    /// Writes them, and replaces the estimates in `audiences` by what was written.
    fn write(&self, place: &Place, part_users: usize, audiences: &mut [Audience]) -> Result<()> {
        let from: Vec<u32> = self.cuts.iter().map(|cut| cut.from.to_bits()).collect();
        let how = json!({"audience": self.chosen, "from": from});
        let job = Job::new(self.loaded, self.users, None, part_users, &how)?;
        let decided = job.run(&place.path, &|logits| self.decide(logits))?;

        let brands = &self.loaded.brands;
        let decisions = Decisions::open(&decided.parts, brands.names.len())?;
        let mut at_most = vec![u64::MAX; brands.names.len()];
        let mut slots = vec![0; brands.names.len()];
        for (slot, (&brand, cut)) in self.chosen.iter().zip(self.cuts).enumerate() {
            at_most[brand] = cut.at_most.unwrap_or(u64::MAX);
            slots[brand] = slot;
        }
        let wanted = Wanted { brands: self.chosen, at_most };
        gather::write(place, &decisions, brands, &wanted, |brand, members| {
            let positives = self.cuts[slots[brand]].positives;
            let hits = members.iter().map(|&(prob, _)| f64::from(prob)).sum::<f64>() + 0.0; // of none it is -0
            let n = members.len() as f64;
            let into = &mut audiences[slots[brand]];
            into.n_users = members.len() as u64;
            if self.cuts[slots[brand]].at_most.is_some() {
                into.from_prob = members.last().map(|&(prob, _)| prob.into());
            }
            into.expected_precision = (n > 0.0).then(|| hits / n);
            into.expected_recall = (positives > 0.0).then(|| (hits / positives).min(1.0));
        })?;
        drop(decisions);
        place.send()?;
        Ok(decided.work.remove()?)
    }

    /// Of each user, the brands in whose audience the user may be.
    fn decide(&self, logits: ArrayView2<f32>) -> Vec<UserDecision> {
        let cells = log_odds(&self.loaded.decider, logits, self.chosen);
        // In order of the brands' positions, as lists of brands are.
        let mut order: Vec<usize> = (0..self.chosen.len()).collect();
        order.sort_by_key(|&slot| self.chosen[slot]);
        let decide = |row: ndarray::ArrayView1<f32>| {
            let is_in = |&&slot: &&usize| row[slot] >= self.cuts[slot].from;
            let slots: Vec<usize> = order.iter().filter(is_in).copied().collect();
            let prob = |&slot: &usize| sigmoid(row[slot].into()) as f32;
            UserDecision {
                predicted: slots.iter().map(|&slot| self.chosen[slot] as u32).collect(),
                predicted_probs: slots.iter().map(prob).collect(),
                top_brands: Vec::new(),
                top_probs: Vec::new(),
            }
        };
        cells.axis_iter(Axis(0)).into_par_iter().map(decide).collect()
    }
}

/// Brands that the printed table shows at most.
const SHOWN: usize = 30;

/// As a table.
fn shown(audiences: &Audiences) -> String {
    let Audiences { n_users, output, brands, .. } = audiences;
    let n_shown = if output.is_some() { brands.len().min(SHOWN) } else { brands.len() };
    let name = |audience: &Audience| -> String { audience.brand_name.chars().take(32).collect() };
    let width = brands[..n_shown].iter().map(|a| name(a).chars().count()).max().unwrap_or(0).max(5);
    let mut text = format!(
        "{:width$}  {:>11}  {:>10}  {:>18}  {:>15}\n",
        "brand", "users", "from prob", "expected precision", "expected recall"
    );
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    for audience in &brands[..n_shown] {
        let _ = writeln!(
            text,
            "{:width$}  {:>11}  {:>10}  {:>18}  {:>15}",
            name(audience),
            count(audience.n_users),
            number(audience.from_prob),
            number(audience.expected_precision),
            number(audience.expected_recall)
        );
    }
    if n_shown < brands.len() {
        let more = plural((brands.len() - n_shown) as u64, "more brand");
        let _ = writeln!(text, "and {more}; `--json` shows all");
    }
    let total: u64 = brands.iter().map(|audience| audience.n_users).sum();
    let _ = write!(
        text,
        "{} of {}, {} in all",
        plural(brands.len() as u64, "audience"),
        plural(*n_users, "user"),
        plural(total, "row")
    );
    match output {
        Some(output) => text + "\n" + output,
        None => text,
    }
}
