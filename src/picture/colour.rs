//! Colours: the palette of all pictures, and the scale of spectrograms.

/// Red, green and blue in sRGB.
pub(super) type Colour = [u8; 3];

pub(super) const BACKGROUND: Colour = [16, 16, 22];
pub(super) const PANEL: Colour = [24, 24, 33];
pub(super) const GRID: Colour = [48, 48, 62];
pub(super) const TEXT: Colour = [232, 230, 240];
pub(super) const DIM: Colour = [158, 156, 174];
pub(super) const WAVE: Colour = [86, 128, 196];
pub(super) const WAVE_CORE: Colour = [150, 194, 246];
pub(super) const ALARM: Colour = [230, 50, 60];
pub(super) const SERIES: [Colour; 6] = [
    [250, 170, 80],
    [100, 170, 250],
    [120, 210, 140],
    [230, 110, 170],
    [180, 150, 250],
    [120, 210, 220],
];

/// The colour of `level` from 0 (dark) to 1 (bright): lightness rises evenly while the hue turns
/// from violet through red to yellow.
///
/// Computed in Oklab [Ottosson 2020].
pub(super) fn heat(level: f32) -> Colour {
    let level = level.clamp(0.0, 1.0);
    let lightness = 0.12 + 0.86 * level;
    let chroma = 0.215 * (std::f32::consts::PI * (0.06 + 0.88 * level).powf(0.9)).sin();
    let hue = (285.0 + 180.0 * level.powf(0.85)).to_radians();
    let (a, b) = (chroma * hue.cos(), chroma * hue.sin());
    let l = (lightness + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
    let m = (lightness - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
    let s = (lightness - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
    let linear = [
        4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
        -1.268_438 * l + 2.609_757_4 * m - 0.341_319_4 * s,
        -0.004_196_086 * l - 0.703_418_6 * m + 1.707_614_7 * s,
    ];
    linear.map(|x| {
        let x = x.clamp(0.0, 1.0);
        let encoded = if x <= 0.003_130_8 {
            12.92 * x
        } else {
            1.055 * x.powf(1.0 / 2.4) - 0.055
        };
        (encoded * 255.0).round() as u8
    })
}

/// `fraction` of `b` over `a`.
pub(super) fn mix(a: Colour, b: Colour, fraction: f32) -> Colour {
    std::array::from_fn(|i| {
        (f32::from(a[i]) + (f32::from(b[i]) - f32::from(a[i])) * fraction).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_brightens_evenly_from_near_black() {
        let lightness = |c: Colour| {
            let linear = c.map(|x| (f64::from(x) / 255.0).powf(2.2));
            (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]).cbrt()
        };
        let steps: Vec<f64> = (0..=20).map(|i| lightness(heat(i as f32 / 20.0))).collect();
        assert!(
            steps
                .windows(2)
                .all(|pair| (0.02..0.08).contains(&(pair[1] - pair[0]))),
            "{steps:?}"
        );
        assert!(steps[0] < 0.15 && steps[20] > 0.9, "{steps:?}");
        assert_eq!((heat(-1.0), heat(2.0)), (heat(0.0), heat(1.0)));
    }
}
