//! Messages of DataFusion's errors, without their wrapping.
//!
//! A user needs the innermost text of an error's layers.

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use raw_tables::without_layers;

/// Start of advice for DataFusion's developers.
const ADVICE: &str = "This issue was likely caused by a bug in DataFusion's code";

/// The innermost message.
pub fn message(err: &DataFusionError) -> String {
    let root = err.find_root();
    let text = match root {
        DataFusionError::SQL(err, _) => match err.as_ref() {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => {
                return "brackets and subqueries are nested more than 50 deep\n\
                        hint: give the inner subqueries names with `with`"
                    .to_owned();
            }
        },
        root => root.strip_backtrace(),
    };
    let text = match text.split_once(ADVICE) {
        Some((before, _)) => before.trim_end().trim_end_matches('.'),
        None => &text,
    };
    match without_layers(text).strip_prefix("This feature is not implemented: ") {
        Some(feature) => format!("not supported: {feature}"),
        None => without_layers(text).to_owned(),
    }
}

/// A limit that a query reached.
#[derive(Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// Memory, with the largest consumers
    Memory(String),
    /// Disk space for what does not fit into memory
    Scratch,
}

/// Whether a limit of the session is reached.
pub fn exhausted(err: &DataFusionError) -> Option<Exhausted> {
    // It may be wrapped in several kinds of I/O errors.
    if err.to_string().contains("max_temp_directory_size") {
        return Some(Exhausted::Scratch);
    }
    let DataFusionError::ResourcesExhausted(reason) = err.find_root() else { return None };
    Some(Exhausted::Memory(reason.split("\nError: ").next().unwrap_or_default().to_owned()))
}

/// The message for [`Exhausted::Scratch`].
///
/// * `key`: the manifest's key of the limit.
pub fn scratch_full(key: &str) -> String {
    format!(
        "what does not fit into memory takes more of the disk than `{key}`\n\
         hint: look for a join that makes too many rows, or raise the limit"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::error::ArrowError;
    use datafusion::parquet::errors::ParquetError;

    #[test]
    fn prefixes_of_layers_are_removed() {
        let inner = ParquetError::General("the footer is damaged".to_owned());
        let parquet = DataFusionError::ParquetError(Box::new(inner));
        assert_eq!(message(&parquet), "the footer is damaged");
        let inner = ArrowError::CastError("cannot cast `x`".to_owned());
        let cast = DataFusionError::ArrowError(Box::new(inner), None).context("while reading");
        assert_eq!(message(&cast), "cannot cast `x`");
        let nested = ArrowError::ParquetError("Parquet error: External: gone".to_owned());
        let nested = DataFusionError::ArrowError(Box::new(nested), None);
        assert_eq!(message(&nested), "gone");
    }

    #[test]
    fn advice_for_developers_of_datafusion_is_removed() {
        let internal = DataFusionError::Internal("the column is gone".to_owned());
        assert!(internal.to_string().contains("bug"), "{internal}");
        assert_eq!(message(&internal), "the column is gone");
    }

    #[test]
    fn not_implemented_reads_as_not_supported() {
        let err = DataFusionError::NotImplemented("`pivot`".to_owned());
        assert_eq!(message(&err), "not supported: `pivot`");
    }
}
