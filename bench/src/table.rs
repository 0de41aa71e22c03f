//! Figures of several rounds, and how they are printed.

use std::fmt;

/// The same figure, measured several times.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The samples in the order they came.
    pub fn all(&self) -> &[f64] {
        &self.0
    }

    /// The middle one, or the mean of the two in the middle.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            len if len.is_multiple_of(2) => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
            _ => Some(sorted[middle]),
        }
    }

    /// The smallest and the largest.
    pub fn spread(&self) -> Option<(f64, f64)> {
        let least = self.0.iter().copied().min_by(f64::total_cmp)?;
        let most = self.0.iter().copied().max_by(f64::total_cmp)?;
        Some((least, most))
    }
}

impl fmt::Display for Samples {
    /// `median (min-max)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.median(), self.spread()) {
            (Some(median), Some((least, most))) => write!(f, "{median:.2} ({least:.2}-{most:.2})"),
            _ => f.write_str("-"),
        }
    }
}

/// Prints rows as a Markdown table, the first one as its head.
pub fn print(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let line = |cells: Vec<String>| println!("| {} |", cells.join(" | "));
    for (at, row) in rows.iter().enumerate() {
        let cell = |column: usize| row.get(column).map_or("", String::as_str);
        line((0..columns).map(|column| format!("{:<1$}", cell(column), width(column))).collect());
        if at == 0 {
            line((0..columns).map(|column| "-".repeat(width(column))).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_spread_the_ends() {
        let mut samples = Samples::default();
        assert_eq!(samples.to_string(), "-");
        [3.0, 1.0, 2.0].into_iter().for_each(|figure| samples.push(figure));
        assert_eq!(samples.to_string(), "2.00 (1.00-3.00)");
        samples.push(4.0);
        assert_eq!((samples.median(), samples.spread()), (Some(2.5), Some((1.0, 4.0))));
    }
}
