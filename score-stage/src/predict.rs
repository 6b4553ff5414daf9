//! Decisions for new users, with stored thresholds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use arrow::array::{Array as _, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use clap::Args as ClapArgs;
use contract::exit::{DataError, UsageError};
use contract::ids;
use contract::ipc::{self, ROWS_PER_BATCH, Table, Writer};
use contract::source_features::{ModelColumn, match_model};
use contract::user_file::UserFile;
use contract::words::plural;
use contract::{tables, thresholds, warn_line};
use model::Model;

use crate::decide::{Decider, NEVER, Rule};
use crate::memory::{Blend, Memory};
use crate::table;
use crate::users::Scorer;

#[derive(ClapArgs)]
pub struct Args {
    /// Model to use, as `runs/bau/train/model.arrow`
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Users to decide for, an Arrow IPC file or stream: `user_id` and the model's features
    #[arg(long, value_name = "FILE")]
    users: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Thresholds to use; by default those of the model's experiment, `../score/thresholds.arrow`
    #[arg(long, value_name = "FILE")]
    thresholds: Option<PathBuf>,
    /// Decide for this view instead of by the experiment's policy: the list of brands that is
    /// best for each user, or the audience of users that is best for each brand
    #[arg(long = "for", value_name = "VIEW")]
    audience: Option<Audience>,
    /// How many best brands to keep for each user
    #[arg(long, value_name = "NUM", default_value_t = 20)]
    top_k: usize,
}

/// Whom decisions are to serve.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Audience {
    /// For each user the list of the highest F1 expected
    Users,
    /// For each brand the users of the highest F1 expected
    Brands,
}

/// Decides for the users of a file.
pub fn run(args: &Args) -> Result<String> {
    check_output(args)?;
    let model = crate::to_model(&ipc::read_unmapped(&args.model, &tables::MODEL)?)?;
    let hash = model.hash();
    let thresholds_path = args.thresholds.clone().unwrap_or_else(|| beside(&args.model));
    let (decider, weights) = read_thresholds(&thresholds_path, args, (&model, &hash))?;
    let memory = if weights.iter().any(|&weight| weight > 0.0) {
        let path = thresholds_path.with_file_name("memory.arrow");
        let table = ipc::read_unmapped(&path, &tables::MEMORY)?;
        Some(Memory::from_table(&table, (&model, &hash))?)
    } else {
        None
    };
    let blend = memory.as_ref().map(|memory| Blend { memory, weights });
    let scorer = Scorer { model: &model, blend };

    let in_file = || args.users.display().to_string();
    let users = Users::open(&args.users, &model).with_context(in_file)?;
    let fields = table::score_fields(&users.ids, false);
    let mut writer = Writer::create(&args.output, &tables::PREDICTIONS, fields, HashMap::new())?;
    let ids = users.ids.clone();
    let mut first = 0;
    users
        .for_each_group(|group| {
            let inputs = model.inputs(&group).map_err(DataError)?;
            let mut broken = None;
            scorer.for_each_batch(0..group.n_rows(), &inputs, "users", |scored| {
                let row = first + scored.first;
                let is_broken = |(_, z): &(_, &f32)| !z.is_finite();
                if let Some(((user, _), _)) = scored.logits.indexed_iter().find(is_broken) {
                    broken = broken.or(Some(row + user));
                    return Ok(());
                }
                let decisions = decider.decide(scored.logits, args.top_k);
                writer.write(table::scores(&ids, row, None, &decisions))
            })?;
            if let Some(row) = broken {
                return Err(beyond_numbers(&ids, row).into());
            }
            first += group.n_rows();
            Ok(())
        })
        .with_context(in_file)?;
    writer.finish()?.commit()?;
    let n_users = plural(ids.len() as u64, "user");
    Ok(format!("predicted for {n_users}\n{}", args.output.display()))
}

/// Where scoring puts the thresholds of a model.
fn beside(model: &Path) -> PathBuf {
    let run = model.parent().and_then(Path::parent).unwrap_or(Path::new(".."));
    run.join("score/thresholds.arrow")
}

/// What is read must not be replaced by what is written.
fn check_output(args: &Args) -> Result<(), UsageError> {
    let Ok(output) = args.output.canonicalize() else { return Ok(()) };
    let thresholds = args.thresholds.clone().unwrap_or_else(|| beside(&args.model));
    let memory = thresholds.with_file_name("memory.arrow");
    let inputs = [&args.model, &args.users, &thresholds, &memory];
    let is_input = |path: &&&PathBuf| path.canonicalize().is_ok_and(|input| input == output);
    match inputs.iter().find(is_input) {
        Some(input) => Err(UsageError(format!(
            "`--output` is {}, which is read; name another file",
            input.display()
        ))),
        None => Ok(()),
    }
}

/// The decider and the memory's weights, if they are of the model.
fn read_thresholds(
    path: &Path,
    args: &Args,
    (model, hash): (&Model, &str),
) -> Result<(Decider, Vec<f32>)> {
    let shown = path.display();
    ensure!(
        path.exists(),
        DataError(format!(
            "{shown}: there are no thresholds for the model\n\
             hint: score it first, as by `make score EXPERIMENT=NAME`, or name them by \
             `--thresholds`"
        ))
    );
    let table = ipc::read_unmapped(path, &tables::THRESHOLDS)?;
    let of_another = |what: &str| {
        DataError(format!(
            "{shown}: {what} {}\nhint: score the model first, as by `make score \
             EXPERIMENT=NAME`, or name its own thresholds by `--thresholds`",
            args.model.display()
        ))
    };
    match thresholds::are_of_model(&table, hash) {
        Some(true) => {}
        Some(false) => return Err(of_another("fitted for another model than").into()),
        None => warn_line!(
            "score-stage: warning: {shown} does not say which model it was fitted for, as an \
             earlier version wrote it; only the number of brands is checked"
        ),
    }
    let (decider, weights) = table::read_thresholds(&table)?;
    let (found, n_brands) = (decider.n_brands(), model.brand_ids.len());
    ensure!(
        found == n_brands,
        of_another(&format!("fitted for {found} brands, not for the {n_brands} of"))
    );
    let Some(audience) = args.audience else { return Ok((decider, weights)) };
    let knows = decider.brands().iter().any(|brand| brand.expected.is_some());
    ensure!(
        knows || matches!(audience, Audience::Users),
        DataError(format!(
            "{shown}: does not say what F1 to expect, which `--for brands` needs; score again"
        ))
    );
    Ok((audience.serve(decider), weights))
}

impl Audience {
    fn serve(self, decider: Decider) -> Decider {
        match self {
            Self::Users => decider.with_rule(Rule::Gain { brand_share: 0.0 }),
            Self::Brands => decider
                .with_rule(Rule::Brand)
                .with_thresholds(|brand| brand.expected.map_or(NEVER, |e| e.threshold())),
        }
    }
}

/// A logit overflowed: the user's features, or the model's weights, are too large.
fn beyond_numbers(ids: &ArrayRef, row: usize) -> DataError {
    DataError(format!(
        "users: user {}: the model gives no finite number; its features may be far beyond those that \
         it was trained on",
        ids::shown(ids, row)
    ))
}

/// A remedy that is written in a view for training is for whoever makes the file here.
fn without_view(DataError(what): DataError) -> DataError {
    let what = what.split(", or `types:").next().unwrap_or_default();
    DataError(what.replace(" in a view", ""))
}

/// The users of a file, and how to make the model's features of its columns.
struct Users {
    file: UserFile,
    path: PathBuf,
    ids: ArrayRef,
    columns: Vec<ModelColumn>,
    schema: SchemaRef,
}

impl Users {
    /// Checks the columns and reads the ids, which are needed whole: none may appear twice.
    fn open(path: &Path, model: &Model) -> Result<Self> {
        let file = UserFile::open(path)?;
        let found = file.schema.field_with_name("user_id").map_err(|_| {
            let names: Vec<_> =
                file.schema.fields().iter().map(|f| format!("`{}`", f.name())).collect();
            let names = names.join(", ");
            DataError(format!("users: column `user_id` is missing; found {names}"))
        })?;
        let at = |err: ids::IdError| without_view(err.at("users", "user_id"));
        ids::IdKind::of(found.data_type()).map_err(at)?;
        let columns = match_model(model.features(), &model.brand_ids, &file.schema)?;
        let mut parts = Vec::new();
        for batch in file.batches()? {
            parts.push(batch?.column_by_name("user_id").expect("it is in the schema").clone());
        }
        let parts: Vec<&ArrayRef> = parts.iter().collect();
        let ids = ids::whole("users", "user_id", &parts).map_err(without_view)?;
        ids::index("users", "user_id", &ids, found.data_type().clone())?;
        let id = Field::new("user_id", ids.data_type().clone(), false);
        let features = columns.iter().flat_map(ModelColumn::fields);
        let schema = Arc::new(Schema::new(std::iter::once(id).chain(features).collect::<Vec<_>>()));
        Ok(Self { file, path: path.to_path_buf(), ids, columns, schema })
    }

    /// Calls `each` with the users as `features` has them, some tens of thousands at a time.
    fn for_each_group(mut self, mut each: impl FnMut(Table) -> Result<()>) -> Result<()> {
        let mut group = Vec::new();
        let (mut done, mut waiting) = (0, 0);
        let table =
            |batches| Table { schema: self.schema.clone(), batches, path: self.path.clone() };
        for batch in self.file.batches()? {
            let batch = batch?;
            let n_rows = batch.num_rows();
            if done + n_rows > self.ids.len() {
                return Err(UserFile::changed().into());
            }
            let mut columns = vec![self.ids.slice(done, n_rows)];
            for column in &mut self.columns {
                columns.extend(column.convert(&batch)?);
            }
            group.push(RecordBatch::try_new(self.schema.clone(), columns)?);
            done += n_rows;
            waiting += n_rows;
            if waiting >= ROWS_PER_BATCH {
                each(table(std::mem::take(&mut group)))?;
                waiting = 0;
            }
        }
        if waiting > 0 {
            each(table(group))?;
        }
        if done != self.ids.len() {
            return Err(UserFile::changed().into());
        }
        self.columns.iter().try_for_each(ModelColumn::check_known)?;
        Ok(())
    }
}
