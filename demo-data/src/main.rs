//! Makes a population of users and brands whose truth is known.
//!
//! Every user has a hidden taste `u`, every brand a direction `v` and a bias `b`; a user has a
//! brand with probability `σ(b + v·u)`. The embedding that models see is a nonlinear and noisy view
//! of the taste. The truth is saved as a model over the taste, so that an `oracle` experiment shows
//! the ceiling of all models.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use contract::cli;
use population::{Law, Population, User};
use rayon::prelude::*;
use tables::{Interactions, Users};

mod parquet_file; // a parquet file, put in place when whole
mod population; // the truth: volumes, tastes, labels, embeddings
mod tables; // users, interactions and brands -> parquet

/// Users made and written at a time, so that memory does not grow with their number.
const CHUNK: u64 = 65_536;

/// Make a population of users and brands whose truth is known
///
/// Writes users.parquet (`user_id`, `embedding`, `latent`), interactions.parquet, brands.parquet
/// and oracle.arrow, the true model over `latent`. The same seed gives the same bytes.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Folder to write
    #[arg(long, value_name = "DIR", default_value = "data/demo")]
    output: PathBuf,
    /// Number of users
    #[arg(long, value_name = "NUM", default_value_t = 60_000)]
    users: u64,
    /// Number of brands
    #[arg(long, value_name = "NUM", default_value_t = 600)]
    brands: usize,
    /// Length of the embedding
    #[arg(long, value_name = "NUM", default_value_t = 64)]
    dim: usize,
    #[command(flatten)]
    law: Law,
    /// Seed of everything drawn
    #[arg(long, value_name = "NUM", default_value_t = 7)]
    seed: u64,
}

fn main() -> ExitCode {
    let args: Args = cli::parse();
    cli::main("demo-data", || run(&args))
}

fn run(args: &Args) -> Result<String> {
    ensure!(
        args.users >= 10 && args.brands >= 2 && args.dim >= 1,
        "needs at least 10 users, 2 brands and 1 dimension"
    );
    let population = Population::new(args.brands, args.dim, &args.law, args.seed)?;
    fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot make {}", args.output.display()))?;
    let brand_ids = population.brand_ids();
    let mut users = Users::create(&args.output, args.dim)?;
    let mut interactions = Interactions::create(&args.output)?;
    let mut n_labels = 0;
    for first in (0..args.users).step_by(CHUNK as usize) {
        let made: Vec<User> = (first..(first + CHUNK).min(args.users))
            .into_par_iter()
            .map(|i| population.user(i))
            .collect();
        users.write(first, &made)?;
        interactions.write(first, &made, &brand_ids)?;
        n_labels += made.iter().map(|user| user.labels.len()).sum::<usize>();
    }
    let brands = tables::write_brands(&args.output, &brand_ids)?;
    for file in [users.file, interactions.file, brands] {
        file.finish()?;
    }
    population.oracle().save(&args.output.join("oracle.arrow"))?;
    Ok(format!(
        "{} users, {} brands, {:.2} brands a user\n{}",
        args.users,
        args.brands,
        n_labels as f64 / args.users as f64,
        args.output.display()
    ))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
