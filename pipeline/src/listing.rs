//! Lists of stages: what is fresh is counted, the rest has a line each that fits the terminal.

use std::borrow::Cow;

use comfy_table::{Table, presets};
use contract::print_line;
use contract::words::{count, plural};

/// A table without lines.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

/// Columns of the terminal that results are printed on; `None` if that is a file or a pipe.
pub fn width() -> Option<usize> {
    Table::new().width().map(usize::from)
}

/// Prints a table, each line cut to the terminal.
pub fn print(table: &Table) {
    let width = width();
    for line in table.to_string().lines() {
        print_line!("{}", cut(line.trim_end(), width));
    }
}

/// The start of a line, as far as it fits.
pub fn cut(line: &str, width: Option<usize>) -> Cow<'_, str> {
    match width {
        Some(width) if line.chars().count() > width => {
            let start: String = line.chars().take(width.saturating_sub(1)).collect();
            format!("{}…", start.trim_end()).into()
        }
        _ => line.into(),
    }
}

/// How many stages are fresh: `61 of 64 stages are fresh; 3 are not`.
pub fn summary(n_fresh: usize, n: usize) -> String {
    let all = plural(n as u64, "stage");
    match n - n_fresh {
        0 if n == 1 => "the only stage is fresh".to_owned(),
        0 => format!("all {all} are fresh"),
        1 => format!("{} of {all} are fresh; 1 is not", count(n_fresh as u64)),
        n_others => format!("{} of {all} are fresh; {n_others} are not", count(n_fresh as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_only_where_it_does_not_fit() {
        assert_eq!(cut("train of bau", None), "train of bau");
        assert_eq!(cut("train of bau", Some(12)), "train of bau");
        assert_eq!(cut("train of bau", Some(11)), "train of b…");
        assert_eq!(cut("größer als alles", Some(8)), "größer…");
    }

    #[test]
    fn a_summary_counts_what_is_fresh_and_what_is_not() {
        assert_eq!(summary(61, 64), "61 of 64 stages are fresh; 3 are not");
        assert_eq!(summary(0, 2), "0 of 2 stages are fresh; 2 are not");
        assert_eq!(summary(63, 64), "63 of 64 stages are fresh; 1 is not");
        assert_eq!(summary(1234, 1234), "all 1,234 stages are fresh");
        assert_eq!(summary(1, 1), "the only stage is fresh");
    }
}
