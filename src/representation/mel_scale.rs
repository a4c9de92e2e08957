//! Slaney's mel scale [Slaney 1998].

/// Hz to mel: 200/3 Hz a mel up to 1 kHz, then 27 mel for each factor of 6.4.
pub(super) fn mel_of(hz: f64) -> f64 {
    if hz < 1000.0 {
        hz * 3.0 / 200.0
    } else {
        15.0 + 27.0 * (hz / 1000.0).ln() / 6.4f64.ln()
    }
}

/// The inverse of [`mel_of`].
pub(super) fn hz_of(mel: f64) -> f64 {
    if mel < 15.0 {
        mel * 200.0 / 3.0
    } else {
        1000.0 * ((mel - 15.0) / 27.0 * 6.4f64.ln()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mel_scale_is_slaneys() {
        // librosa's documentation of mel_frequencies(40) gives these: 0, 85.317, 170.635 .. 11025.
        let top = mel_of(11_025.0);
        for (i, hz) in [
            (0, 0.0),
            (1, 85.317),
            (2, 170.635),
            (12, 1024.856),
            (38, 10_096.408),
            (39, 11_025.0),
        ] {
            let found = hz_of(top * f64::from(i) / 39.0);
            assert!(
                (found - hz).abs() < 0.001 * hz.max(1.0),
                "{i}: {found} {hz}"
            );
        }
    }
}
