//! Numbers and names as the report prints them. What is undefined or not known is a dash.

pub use contract::words::count;

/// Printed for a number that is undefined or not known.
pub const DASH: &str = "–";

/// The minus sign, which is as wide as a plus.
const MINUS: char = '−';

/// A count, or a dash.
pub fn maybe_count(n: Option<u64>) -> String {
    n.map_or_else(|| DASH.to_owned(), count)
}

/// A metric in `[0, 1]`: `0.066`.
pub fn metric(value: Option<f64>) -> String {
    value.map_or_else(|| DASH.to_owned(), |value| format!("{value:.3}"))
}

/// A probability to two digits, however small: `0.0031`.
pub fn probability(value: f64) -> String {
    let n_zeros = if value > 0.0 { (-value.log10().floor()) as usize } else { 1 };
    format!("{value:.*}", (n_zeros + 1).clamp(2, 8))
}

/// A mean count: `3.42`.
pub fn mean(value: Option<f64>) -> String {
    value.map_or_else(|| DASH.to_owned(), |value| format!("{value:.2}"))
}

/// Bytes in MiB: `12.3`.
pub fn mebibytes(bytes: u64) -> String {
    secs(Some(bytes as f64 / 1_048_576.0))
}

/// Wall time: `1,234.5`.
pub fn secs(value: Option<f64>) -> String {
    let Some(value) = value else { return DASH.to_owned() };
    let tenths = (value * 10.0).round() as u64;
    format!("{}.{}", count(tenths / 10), tenths % 10)
}

/// A change of a metric, and as a percentage of the baseline's value: `+0.0110 (+20.0%)`.
pub fn change(abs: Option<f64>, rel: Option<f64>) -> String {
    let Some(abs) = abs else { return DASH.to_owned() };
    format!("{}{}", signed(abs, 4), relative(rel))
}

/// Between a value and the baseline's: `0.185, up from 0.068`.
pub fn from(abs: Option<f64>) -> &'static str {
    match abs {
        Some(abs) if abs > 0.0 => "up from",
        Some(abs) if abs < 0.0 => "down from",
        _ => "against",
    }
}

/// Names of the manifest as code, in a sentence.
pub fn names<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A change of a metric alone: `+0.011`.
pub fn points(abs: Option<f64>) -> String {
    abs.map_or_else(|| DASH.to_owned(), |abs| signed(abs, 3))
}

/// A change of a count, and as a percentage of the baseline's value: `−243 (−81.0%)`.
pub fn count_change(abs: Option<f64>, rel: Option<f64>) -> String {
    let Some(abs) = abs else { return DASH.to_owned() };
    let sign = sign_of(abs, abs != 0.0);
    format!("{sign}{}{}", count(abs.abs().round() as u64), relative(rel))
}

/// An interval of a change: `[+0.0090, +0.0130]`.
pub fn interval(ci95: Option<[f64; 2]>) -> Option<String> {
    ci95.map(|[low, high]| format!("[{}, {}]", signed(low, 4), signed(high, 4)))
}

/// An interval of a change of a count: `[−12, +40]`.
pub fn count_interval(ci95: Option<[f64; 2]>) -> Option<String> {
    ci95.map(|[low, high]| format!("[{}, {}]", signed(low, 0), signed(high, 0)))
}

/// A value on an axis: as few digits as it needs, thousands as `k`.
pub fn tick(value: f64) -> String {
    let sign = if value < -1e-12 { "−" } else { "" };
    let value = value.abs();
    let (value, unit) = match value {
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let text = format!("{value:.6}");
    format!("{sign}{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A change as a percentage of the baseline's value, without decimals from 10 up: `+3.4%`, `−43%`.
pub fn percent(rel: f64) -> String {
    let digits = usize::from((100.0 * rel).abs() < 9.95);
    format!("{}%", signed(100.0 * rel, digits))
}

/// A change as a percentage of the baseline's value, in brackets: ` (+20.0%)`; empty where not known.
pub fn relative(rel: Option<f64>) -> String {
    rel.map_or_else(String::new, |rel| format!(" ({}%)", signed(100.0 * rel, 1)))
}

/// A number with its sign, without one where it rounds to 0.
fn signed(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", value.abs());
    let is_nonzero = text.chars().any(|c| ('1'..='9').contains(&c));
    format!("{}{text}", sign_of(value, is_nonzero))
}

fn sign_of(value: f64, is_nonzero: bool) -> String {
    match (is_nonzero, value < 0.0) {
        (false, _) => String::new(),
        (true, true) => MINUS.to_string(),
        (true, false) => "+".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_thousands_separators() {
        assert_eq!(
            [0, 999, 1000, 2_311, 1_234_567].map(count),
            ["0", "999", "1,000", "2,311", "1,234,567"]
        );
    }

    #[test]
    fn changes_carry_their_sign_and_percent_of_the_baseline() {
        assert_eq!(change(Some(0.011), Some(0.2)), "+0.0110 (+20.0%)");
        assert_eq!(change(Some(-0.01), Some(-0.03)), "−0.0100 (−3.0%)");
        assert_eq!(change(Some(0.5), None), "+0.5000", "the baseline is 0");
        assert_eq!(change(None, None), "–");
        assert_eq!(count_change(Some(-2430.0), Some(-0.81)), "−2,430 (−81.0%)");
        assert_eq!([0.0342, -0.428, 0.0995].map(percent), ["+3.4%", "−43%", "+10%"]);
        assert_eq!(interval(Some([-0.0012, 0.013])).unwrap(), "[−0.0012, +0.0130]");
        assert_eq!(count_interval(Some([-12.4, 40.0])).unwrap(), "[−12, +40]");
    }

    #[test]
    fn small_probabilities_keep_two_digits() {
        assert_eq!(
            [0.5, 0.043, 0.003_14, 0.0, 1.0].map(probability),
            ["0.50", "0.043", "0.0031", "0.00", "1.00"]
        );
    }

    #[test]
    fn what_rounds_to_zero_has_no_sign() {
        assert_eq!(change(Some(0.0), Some(0.0)), "0.0000 (0.0%)");
        assert_eq!(change(Some(-0.00001), Some(-0.0001)), "0.0000 (0.0%)");
        assert_eq!(count_change(Some(0.0), Some(0.0)), "0 (0.0%)");
    }

    #[test]
    fn what_is_undefined_is_a_dash() {
        assert_eq!([metric(None), mean(None), secs(None), maybe_count(None)], [DASH; 4]);
        assert_eq!(
            [metric(Some(0.0664)), mean(Some(3.417)), secs(Some(1234.46))],
            ["0.066", "3.42", "1,234.5"]
        );
    }
}
