//! `pipeline publish`: the report for others, in a store or another folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use contract::cli::ManifestArgs;
use contract::exit::{DataError, UsageError};
use contract::plan::StageId;
use contract::record::Record;
use contract::{Stage, commands, print_line};
use stores::{StoreUrl, upload};

/// Arguments of `pipeline publish`.
#[derive(Args)]
pub struct PublishArgs {
    /// Folder to write to: a URL, such as `s3://bucket/reports/today`, or a local folder
    #[arg(value_name = "URL")]
    to: String,
    #[command(flatten)]
    manifest: ManifestArgs,
}

/// Copies the report's files; a reader sees each whole, the one of before or the new one.
///
/// # Errors
///
/// If there is no report, or what the store says.
pub fn publish(args: &PublishArgs) -> Result<()> {
    let target = Target::of(&args.to)?;
    let manifest = args.manifest.load()?;
    let dir = manifest.stage_dir(&StageId::shared(Stage::Report));
    let record = Record::load(&manifest.plan(Stage::Report, None).record_path());
    let record = record.ok_or_else(|| {
        let hint = format!("make it with `{}`", commands::run());
        DataError(format!("{}: there is no report\nhint: {hint}", dir.display()))
    })?;
    // What people open comes last, when all that belongs to it is there.
    let (pages, others): (Vec<&String>, Vec<&String>) =
        record.outputs.keys().partition(|name| *name == "report.html");
    for name in others.into_iter().chain(pages) {
        target.put(&dir.join(name), name)?;
        print_line!("{}", target.shown(name));
    }
    Ok(())
}

/// Where files go.
enum Target {
    Store(StoreUrl),
    Local(PathBuf),
}

impl Target {
    fn of(text: &str) -> Result<Self> {
        let local = match stores::local_path(text) {
            Some(path) => path.map_err(UsageError)?,
            None => text.to_owned(),
        };
        if !stores::is_url(&local) {
            return Ok(Self::Local(local.into()));
        }
        let url = StoreUrl::parse(text).map_err(UsageError)?;
        upload::check(&url)?;
        Ok(Self::Store(url))
    }

    fn put(&self, from: &Path, name: &str) -> Result<()> {
        match self {
            Self::Store(folder) => Ok(upload::file(from, &folder.join(name))?),
            Self::Local(folder) => {
                let to = folder.join(name);
                copied(from, &to).with_context(|| format!("cannot write {}", to.display()))
            }
        }
    }

    fn shown(&self, name: &str) -> String {
        match self {
            Self::Store(folder) => folder.join(name).to_string(),
            Self::Local(folder) => folder.join(name).display().to_string(),
        }
    }
}

fn copied(from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let partial = folder.join(format!(".{name}.partial"));
    fs::create_dir_all(folder)?;
    fs::copy(from, &partial)?;
    fs::rename(&partial, to)
}
