//! Makes a population of users and brands whose truth is known.
//!
//! Every user has a hidden taste `u`, every brand a direction `v` and a bias `b`; a user has a
//! brand with chance `σ(b + v·u)`. The embedding that models see is a bent and noisy view of
//! the taste. The truth is saved as a model over the taste, so that an `oracle` experiment
//! shows what no model can pass.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema};
use clap::Parser;
use contract::cli;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use population::{Law, Population, User};
use rayon::prelude::*;

mod population; // the truth: volumes, tastes, labels, embeddings

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

    let vector = |dim: usize| {
        let item = Arc::new(Field::new_list_field(DataType::Float32, false));
        DataType::FixedSizeList(item, dim as i32)
    };
    let mut users = Output::create(
        &args.output.join("users.parquet"),
        vec![
            Field::new("user_id", DataType::Int64, false),
            Field::new("embedding", vector(args.dim), false),
            Field::new("latent", vector(population::TASTE_DIM), false),
        ],
    )?;
    let mut interactions = Output::create(
        &args.output.join("interactions.parquet"),
        vec![
            Field::new("user_id", DataType::Int64, false),
            Field::new("brand_id", DataType::Utf8, false),
            Field::new("events", DataType::UInt32, false),
        ],
    )?;
    let ids = population.brand_ids();
    let mut n_labels = 0;
    for first in (0..args.users).step_by(CHUNK as usize) {
        let made: Vec<User> = (first..(first + CHUNK).min(args.users))
            .into_par_iter()
            .map(|i| population.user(i))
            .collect();
        let user_ids: Vec<i64> = (first as i64 + 1..).take(made.len()).collect();
        let vectors = |dim: usize, part: fn(&User) -> &[f32]| -> Result<ArrayRef> {
            let values: Float32Array =
                made.iter().flat_map(|user| part(user).iter().copied()).collect::<Vec<_>>().into();
            let item = Arc::new(Field::new_list_field(DataType::Float32, false));
            Ok(Arc::new(FixedSizeListArray::try_new(item, dim as i32, Arc::new(values), None)?))
        };
        let embeddings = vectors(args.dim, |user| &user.embedding)?;
        let tastes = vectors(population::TASTE_DIM, |user| &user.taste)?;
        users.write(vec![Arc::new(Int64Array::from(user_ids.clone())), embeddings, tastes])?;

        let of_user = |(user, id): (_, &i64)| -> Vec<(i64, u32, u32)> {
            let user: &User = user;
            user.labels.iter().map(|&(brand, events)| (*id, brand, events)).collect()
        };
        let labels: Vec<(i64, u32, u32)> = made.iter().zip(&user_ids).flat_map(of_user).collect();
        let brand_ids: Vec<&str> =
            labels.iter().map(|label| ids[label.1 as usize].as_str()).collect();
        interactions.write(vec![
            Arc::new(Int64Array::from_iter_values(labels.iter().map(|label| label.0))),
            Arc::new(StringArray::from(brand_ids)),
            Arc::new(UInt32Array::from_iter_values(labels.iter().map(|label| label.2))),
        ])?;
        n_labels += labels.len();
    }
    let mut brands = Output::create(
        &args.output.join("brands.parquet"),
        vec![
            Field::new("brand_id", DataType::Utf8, false),
            Field::new("name", DataType::Utf8, false),
        ],
    )?;
    let names: Vec<String> = ids.iter().map(|id| format!("Brand {}", &id[1..])).collect();
    brands.write(vec![
        Arc::new(StringArray::from(ids.clone())),
        Arc::new(StringArray::from(names)),
    ])?;
    for output in [users, interactions, brands] {
        output.finish()?;
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

/// A parquet file, written beside its target and renamed when whole.
struct Output {
    writer: ArrowWriter<File>,
    schema: Arc<Schema>,
    partial: PathBuf,
    target: PathBuf,
}

impl Output {
    fn create(target: &Path, fields: Vec<Field>) -> Result<Self> {
        let partial = target.with_extension("parquet.partial");
        let file = File::create(&partial)
            .with_context(|| format!("cannot write {}", partial.display()))?;
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))?;
        Ok(Self { writer, schema, partial, target: target.to_path_buf() })
    }

    fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        self.writer
            .write(&RecordBatch::try_new(self.schema.clone(), columns)?)
            .with_context(|| format!("cannot write {}", self.target.display()))
    }

    fn finish(self) -> Result<()> {
        self.writer.close().with_context(|| format!("cannot write {}", self.target.display()))?;
        fs::rename(&self.partial, &self.target)
            .with_context(|| format!("cannot write {}", self.target.display()))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
