//! Medians, minima and percentiles of samples.

/// Returns the value below which the share `fraction` of the samples lies: 0 gives the minimum,
/// 0.5 the median.
pub(crate) fn percentile(samples: &[f64], fraction: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    sorted[(last as f64 * fraction).round() as usize]
}

/// Returns the middle sample.
pub(crate) fn median(samples: &[f64]) -> f64 {
    percentile(samples, 0.5)
}

/// Returns the least sample.
pub(crate) fn minimum(samples: &[f64]) -> f64 {
    percentile(samples, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(minimum(&samples), 0.0);
        assert_eq!(median(&samples), 50.0);
        assert_eq!(percentile(&samples, 0.99), 99.0);
        assert_eq!(median(&[7.0]), 7.0);
    }
}
