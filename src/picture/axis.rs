//! Where ticks stand and how numbers are written.

/// Smallest and largest of `values`.
pub(super) fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |span, x| match span {
        None => Some((x, x)),
        Some((low, high)) => Some((x.min(low), x.max(high))),
    })
}

/// Room around a span: `fraction` of it on either side, and at least enough to divide by.
pub(super) fn widen(low: f64, high: f64, fraction: f64) -> (f64, f64) {
    // Halves, because the difference of two finite numbers can be infinite.
    let limit = f64::MAX / 8.0;
    let (low, high) = (low.clamp(-limit, limit), high.clamp(-limit, limit));
    let least = low.abs().max(high.abs()).max(1e-300) * 1e-9;
    if high - low <= least {
        let room = if low == 0.0 && high == 0.0 {
            1.0
        } else {
            low.abs().max(high.abs()) * 0.1
        };
        return (low - room, high + room);
    }
    let room = (high - low) * fraction;
    (low - room, high + room)
}

/// At most `most` multiples of 1, 2 or 5 times a power of ten within `low..=high`.
pub(super) fn ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    if !(high > low && (high - low).is_finite()) {
        return vec![];
    }
    let coarse = 10f64.powf(((high - low) / most as f64).log10().floor());
    for factor in [1.0, 2.0, 5.0, 10.0, 20.0, 50.0] {
        let step = coarse * factor;
        // The slack keeps ends that rounding has pushed out.
        let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
        let count = last - first + 1.0;
        if count <= most as f64 {
            return (0..count.max(0.0) as usize)
                .map(|i| round_to((first + i as f64) * step))
                .collect();
        }
    }
    vec![]
}

/// Logarithms to label (the decades, with 2 and 5 where few are in view) and those to draw faintly,
/// on an axis from `low` to `high`, themselves logarithms to base 10. Less than an octave or more
/// than 12 decades get plain ticks.
pub(super) fn decade_ticks(low: f64, high: f64) -> (Vec<f64>, Vec<f64>) {
    let (first, last) = (low.floor(), high.floor());
    if last - first > 12.0 {
        let whole = ticks(low, high, 8).into_iter().filter(|x| x.fract() == 0.0);
        return (whole.collect(), vec![]);
    }
    let all = |digits: &'static [f64]| -> Vec<f64> {
        (first as i32..=last as i32)
            .flat_map(|decade| {
                digits
                    .iter()
                    .map(move |digit| f64::from(decade) + digit.log10())
            })
            .filter(|tick| (low..=high).contains(tick))
            .collect()
    };
    let fine = all(&[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let labelled = match high - low {
        decades if decades > 3.0 => all(&[1.0]),
        _ => all(&[1.0, 2.0, 5.0]),
    };
    if labelled.len() >= 2 {
        return (labelled, fine);
    }
    let plain = ticks(10f64.powf(low), 10f64.powf(high), 6);
    (plain.into_iter().map(f64::log10).collect(), vec![])
}

/// `x` to 12 significant digits: 3 × 0.1 is 0.3.
pub(super) fn round_to(x: f64) -> f64 {
    format!("{x:.11e}").parse().unwrap_or(x)
}

/// The shortest common way to write `x` with up to four significant digits: `0.25`, `1500`, `25k`, `1e-5`.
pub(super) fn number(x: f64) -> String {
    let size = x.abs();
    let trim = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e9).contains(&size) {
        let text = format!("{x:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", trim(digits.to_owned()));
    }
    let decimals = |x: f64| (3 - x.abs().log10().floor() as i32).clamp(0, 8) as usize;
    match size {
        _ if size >= 1e6 => format!("{}M", trim(format!("{:.*}", decimals(x / 1e6), x / 1e6))),
        _ if size >= 1e4 => format!("{}k", trim(format!("{:.*}", decimals(x / 1e3), x / 1e3))),
        _ => trim(format!("{:.*}", decimals(x), x)),
    }
}

/// `20`, `500`, `1k`, `10k`.
pub(super) fn hertz(hz: f64) -> String {
    if hz >= 1000.0 {
        format!("{}k", number(hz / 1000.0))
    } else {
        number(hz)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(
            ticks(0.0, 0.74, 8),
            [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
        );
        assert_eq!(ticks(0.0, 0.74, 4), [0.0, 0.2, 0.4, 0.6]);
        assert_eq!(ticks(0.0, 1e5, 9), [0.0, 2e4, 4e4, 6e4, 8e4, 1e5]);
        assert_eq!(ticks(-1.1, 1.2, 5), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert_eq!(
            ticks(0.997, 1.004, 8),
            [0.997, 0.998, 0.999, 1.0, 1.001, 1.002, 1.003, 1.004]
        );
        assert!(ticks(1.0, 1.0, 8).is_empty() && ticks(f64::NAN, 1.0, 8).is_empty());
    }

    #[test]
    fn logarithmic_ticks_are_decades_when_there_are_many() {
        let values = |low: f64, high: f64| -> Vec<f64> {
            decade_ticks(low.log10(), high.log10())
                .0
                .iter()
                .map(|x| round_to(10f64.powf(*x)))
                .collect()
        };
        assert_eq!(values(0.09, 1.1), [0.1, 0.2, 0.5, 1.0]);
        assert_eq!(values(0.9e-4, 11.0), [1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0]);
        assert_eq!(values(0.11, 0.14), [0.11, 0.12, 0.13, 0.14]);
    }

    #[test]
    fn numbers_are_written_short() {
        let cases = [
            (0.0, "0"),
            (0.25, "0.25"),
            (-3.5, "-3.5"),
            (1500.0, "1500"),
            (25_000.0, "25k"),
            (1.5e6, "1.5M"),
            (1e-5, "1e-5"),
            (0.001, "0.001"),
            (1e12, "1e12"),
            (44.1, "44.1"),
            (0.123_456, "0.1235"),
        ];
        for (x, text) in cases {
            assert_eq!(number(x), text);
        }
        assert_eq!(
            (hertz(20.0), hertz(2000.0), hertz(22_050.0)),
            ("20".into(), "2k".into(), "22.05k".into())
        );
    }
}
