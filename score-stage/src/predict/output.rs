//! Decisions in parts -> the predictions of a file or a folder.

use std::path::{Path, PathBuf};

use anyhow::Result;
use arrow::datatypes::{DataType, Field};
use clap::{Args as ClapArgs, ValueEnum};
use contract::exit::UsageError;
use contract::folder::Folder;
use contract::ipc::{self, Finished};
use contract::tables::{Contract, PREDICTED_BRANDS, PREDICTED_USERS, PREDICTIONS};

use super::brands::Brands;
use super::files::{Format, OutputFile, Place};
use super::rows::{Counts, Rows, Selection};
use crate::table::fields_with_ids;

/// What is written where.
#[derive(ClapArgs)]
pub struct Args {
    /// File to write, by its ending .parquet, .csv or .arrow, also in a store, as `s3://bucket/p.csv`; a
    /// name without an ending is a folder of such files, each with the users of a part
    #[arg(long, value_name = "PATH")]
    output: PathBuf,
    /// Format of the files of a folder [default: parquet]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// What a row is [default: `positions` for a single Arrow file, else `long`]
    #[arg(long, value_name = "ROWS")]
    rows: Option<Layout>,
    /// Only brands of at least this probability
    #[arg(long, value_name = "PROB", value_parser = share)]
    min_prob: Option<f32>,
}

fn share(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(prob) if (0.0..=1.0).contains(&prob) => Ok(prob),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// A user and a brand, with id and name
    Long,
    /// A user, with lists of the ids and names of the brands
    Wide,
    /// A user, with lists of the positions of the brands
    Positions,
}

/// The output, checked.
pub struct Output {
    /// Where it goes
    pub place: Place,
    layout: Layout,
    top_k: Option<usize>,
    min_prob: f32,
}

/// Start of the names of a folder's files.
const PART: &str = "part-";

/// Most probable brands that are written beside positions.
const TOP_K: usize = 20;

impl Output {
    /// Checks what the command line says, before anything is read.
    ///
    /// * `scratch`: folder in which files for a store wait.
    ///
    /// # Errors
    ///
    /// As [`Place::of`], or options that exclude each other.
    pub fn of(args: &Args, top_k: Option<usize>, scratch: &Path) -> Result<Self> {
        let place = Place::of(&args.output, args.format, PART, scratch)?;
        let is_positions = place.format == Format::Arrow && !place.is_folder;
        let by_format = if is_positions { Layout::Positions } else { Layout::Long };
        let layout = args.rows.unwrap_or(by_format);
        if layout == Layout::Positions {
            let excluded = match (place.format, args.min_prob) {
                (Format::Arrow, None) => None,
                (Format::Arrow, Some(_)) => {
                    Some("`--min-prob` needs `--rows long` or `--rows wide`")
                }
                _ => Some("`--rows positions` is for Arrow files; use `long` or `wide`"),
            };
            if let Some(what) = excluded {
                return Err(UsageError(what.to_owned()).into());
            }
        }
        Ok(Self { place, layout, top_k, min_prob: args.min_prob.unwrap_or(0.0) })
    }

    /// Most probable brands that parts must have.
    pub fn top_k(&self) -> usize {
        self.top_k.unwrap_or(if self.layout == Layout::Positions { TOP_K } else { 0 })
    }

    /// Writes the decisions of all parts; returns what was written.
    ///
    /// # Errors
    ///
    /// As when the disk is full.
    pub fn write(&self, parts: &[PathBuf], brands: &Brands) -> Result<Counts> {
        let Place { path, is_folder, format, .. } = &self.place;
        let mut counts = Counts::default();
        if !is_folder {
            self.write_file(path, parts, brands, &mut counts)?.commit()?;
            return Ok(counts);
        }
        let folder = Folder::create(path)?;
        for (i, part) in parts.iter().enumerate() {
            let path = folder.path().join(format!("{PART}{i:05}.{}", format.extension()));
            self.write_file(&path, std::slice::from_ref(part), brands, &mut counts)?.commit()?;
        }
        folder.commit()?;
        Ok(counts)
    }

    fn write_file(
        &self,
        path: &Path,
        parts: &[PathBuf],
        brands: &Brands,
        counts: &mut Counts,
    ) -> Result<Finished> {
        let first = ipc::read(&parts[0], &PREDICTIONS)?;
        let ids = first.schema.field_with_name("user_id")?.data_type().clone();
        let selection = Selection { are_top: self.top_k.is_some(), min_prob: self.min_prob };
        let rows = Rows::new(brands, selection, self.layout == Layout::Wide, &ids);
        let (contract, fields) = self.columns(&rows, &ids);
        let mut file = OutputFile::create(path, self.place.format, contract, fields)?;
        for part in parts {
            for batch in ipc::read(part, &PREDICTIONS)?.batches {
                let made = rows.of(&batch, counts)?;
                file.write(if self.layout == Layout::Positions { &batch } else { &made })?;
            }
        }
        file.finish()
    }

    fn columns(&self, rows: &Rows, ids: &DataType) -> (&'static Contract, Vec<Field>) {
        let of_rows = || rows.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        match self.layout {
            Layout::Positions => (&PREDICTIONS, fields_with_ids(&PREDICTIONS, ids)),
            Layout::Long => (&PREDICTED_BRANDS, of_rows()),
            Layout::Wide => (&PREDICTED_USERS, of_rows()),
        }
    }
}
