//! Scales of charts: from values to a share of an edge, and which values get a tick.

/// From values to a share of an edge.
#[derive(Clone, Copy, Debug)]
pub enum Scale {
    /// Equal steps
    Linear(f64, f64),
    /// Equal factors; both ends are positive
    Log(f64, f64),
    /// Square roots from 0 to this, which is positive: small values stay visible beside large ones
    Sqrt(f64),
}

impl Scale {
    /// The value at the start of the edge.
    pub fn low(self) -> f64 {
        match self {
            Self::Linear(low, _) | Self::Log(low, _) => low,
            Self::Sqrt(_) => 0.0,
        }
    }

    /// The value at the end of the edge.
    pub fn high(self) -> f64 {
        match self {
            Self::Linear(_, high) | Self::Log(_, high) | Self::Sqrt(high) => high,
        }
    }

    /// Linear from 0, or from the lowest value if it is below, to a round number.
    pub fn from_zero(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) =
            values.into_iter().fold((0.0, 0.0), |(a, b): (f64, f64), v| (a.min(v), b.max(v)));
        let high = if high > low { high } else { low + 1.0 };
        let step = step(high - low, 4.0);
        Self::Linear((low / step).floor() * step, (high / step).ceil() * step)
    }

    /// Linear over the values and 0, with some room at both ends.
    pub fn around_zero(values: impl IntoIterator<Item = f64>) -> Self {
        Self::around(values.into_iter().chain([0.0]))
    }

    /// Linear over the values, with some room at both ends.
    pub fn around(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = values
            .into_iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if low > high {
            return Self::Linear(0.0, 1.0);
        }
        let room = if high > low { (high - low) * 0.06 } else { 0.5 };
        Self::Linear(low - room, high + room)
    }

    /// Logarithmic over the positive values.
    pub fn log(values: impl IntoIterator<Item = f64>) -> Self {
        let positive = values.into_iter().filter(|&v| v > 0.0);
        let (low, high) =
            positive.fold((f64::INFINITY, 0.0), |(a, b): (f64, f64), v| (a.min(v), b.max(v)));
        if low > high {
            return Self::Log(1.0, 10.0);
        }
        Self::Log(low / 1.2, high * 1.2)
    }

    /// Position of a value, in `[0, 1]` for values on the scale.
    pub fn share(self, value: f64) -> f64 {
        match self {
            Self::Linear(low, high) => (value - low) / (high - low),
            Self::Log(low, high) => (value.max(low) / low).ln() / (high / low).ln(),
            Self::Sqrt(high) => (value.max(0.0) / high).sqrt(),
        }
    }

    /// The values that get a tick.
    ///
    /// * `steps`: about as many between ticks of a linear scale.
    pub fn ticks(self, steps: f64) -> Vec<f64> {
        match self {
            Self::Linear(low, high) => {
                let step = step(high - low, steps);
                let first = (low / step - 1e-9).ceil() as i64;
                let last = (high / step + 1e-9).floor() as i64;
                (first..=last).map(|i| i as f64 * step).collect()
            }
            Self::Log(low, high) => {
                let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
                let is_wide = high / low > 300.0;
                let mantissas: &[f64] = if is_wide { &[1.0] } else { &[1.0, 3.0] };
                exponents
                    .flat_map(|e| mantissas.iter().map(move |m| m * 10_f64.powi(e)))
                    .filter(|v| (low..=high).contains(v))
                    .collect()
            }
            Self::Sqrt(high) => {
                [0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0].map(|share| share * high).to_vec()
            }
        }
    }
}

/// A round step that divides the span into about as many.
fn step(span: f64, steps: f64) -> f64 {
    let rough = span / steps;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|f| f * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format;

    fn values(scale: Scale) -> Vec<String> {
        scale.ticks(4.0).into_iter().map(format::tick).collect()
    }

    #[test]
    fn ticks_are_round_numbers_on_the_scale() {
        assert_eq!(values(Scale::Linear(0.0, 1.0)), ["0", "0.25", "0.5", "0.75", "1"]);
        assert_eq!(values(Scale::Linear(-0.03, 0.05)), ["−0.02", "0", "0.02", "0.04"]);
        let fine = Scale::Linear(0.0, 1.0).ticks(10.0);
        assert_eq!(fine.len(), 11);
        assert_eq!(values(Scale::Log(4.0, 5000.0)), ["10", "100", "1k"]);
        assert_eq!(values(Scale::Log(0.008, 0.2)), ["0.01", "0.03", "0.1"]);
        assert_eq!(values(Scale::Sqrt(1.0)), ["0", "0.05", "0.1", "0.25", "0.5", "0.75", "1"]);
    }

    #[test]
    fn scales_hold_their_values() {
        assert!(
            matches!(Scale::from_zero([0.31, 0.12]), Scale::Linear(0.0, high) if (high - 0.4).abs() < 1e-12)
        );
        assert!(matches!(Scale::from_zero([]), Scale::Linear(0.0, 1.0)));
        assert!(
            matches!(Scale::log([0.0, 2.0, 8.0]), Scale::Log(low, high) if low < 2.0 && high > 8.0)
        );
        assert!(matches!(Scale::log([0.0]), Scale::Log(1.0, 10.0)));
        assert!(matches!(Scale::around([]), Scale::Linear(0.0, 1.0)));
        assert!(
            matches!(Scale::around_zero([0.1, 0.2]), Scale::Linear(low, high) if low < 0.0 && high > 0.2)
        );
        assert!(matches!(Scale::around_zero([]), Scale::Linear(-0.5, 0.5)));
        assert!((Scale::Sqrt(1.0).share(0.25) - 0.5).abs() < 1e-12);
    }
}
