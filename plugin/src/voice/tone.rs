//! Tone: one slow slope that turns the high frequencies down or up.

/// A state below this is heard no longer: -400 dB.
const INAUDIBLE: f32 = 1e-20;

/// Where the highs begin, Hz, from the middle on up.
const PIVOT: f32 = 2000.0;

/// Octaves by which this falls from the middle to the darkest.
const OCTAVES: f32 = 2.0;

/// How far the highs are lifted where it is brightest, dB.
const LIFT_DB: f32 = 12.0;

/// The coefficients for one tone: the output is the lows, and the highs by a factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slope {
    /// How much of its distance to the input the low-pass goes with each frame.
    rate: f32,
    /// The gain of the highs less one; 0 in the middle.
    lift: f32,
}

impl Slope {
    /// For a tone of `-1..=1`: from a low-pass of 6 dB an octave over the whole sound, 0, to highs that are lifted.
    pub(super) fn new(tone: f32, sample_rate: f32) -> Self {
        if tone == 0.0 {
            return Self {
                rate: 1.0,
                lift: 0.0,
            };
        }
        let hz = PIVOT * (OCTAVES * tone.min(0.0)).exp2();
        let lift = if tone < 0.0 {
            tone
        } else {
            10f32.powf(LIFT_DB / 20.0 * tone) - 1.0
        };
        Self {
            rate: 1.0 - (-std::f32::consts::TAU * hz / sample_rate).exp(),
            lift,
        }
    }
}

/// The state of a tone for one channel: its low-pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lows(f32);

impl Lows {
    /// Filters the first frames of a stride of `stride` in place, over which the slope moves from one to another. Where
    /// both are those of the middle, the frames stay as they are, to the bit.
    pub(super) fn run(&mut self, [from, to]: [Slope; 2], frames: &mut [f32], stride: usize) {
        if from.lift == 0.0 && to.lift == 0.0 {
            // A low-pass that follows at once, ready for a slope that sets in.
            self.0 = frames.last().copied().unwrap_or(self.0);
            return;
        }
        let per_frame = 1.0 / stride as f32;
        let (rates, lifts) = (to.rate - from.rate, to.lift - from.lift);
        let mut low = self.0;
        for (i, x) in frames.iter_mut().enumerate() {
            let part = (i + 1) as f32 * per_frame;
            // Between the last low and the input, whatever the rate: no movement of it can make this ring.
            low += (from.rate + part * rates) * (*x - low);
            *x += (from.lift + part * lifts) * (*x - low);
        }
        // In silence it would fall to subnormal numbers, with which processors are slow.
        self.0 = if low.abs() < INAUDIBLE { 0.0 } else { low };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f32 = 48_000.0;

    /// Level of a sine behind a tone, in dB.
    fn level(tone: f32, hz: f32) -> f32 {
        let slope = Slope::new(tone, RATE);
        let sine = |i: usize| (std::f32::consts::TAU * (hz * i as f32 / RATE).fract()).sin();
        let mut frames: Vec<f32> = (0..48_000).map(sine).collect();
        Lows::default().run([slope; 2], &mut frames, 32);
        let energy: f32 = frames[24_000..].iter().map(|x| x * x).sum();
        10.0 * (energy / 12_000.0).log10()
    }

    #[test]
    fn it_darkens_and_brightens_the_highs_and_leaves_the_lows() {
        for tone in [-1.0, -0.5, 0.5, 1.0] {
            assert!(level(tone, 20.0).abs() < 0.05, "{tone}");
        }
        // The darkest is a low-pass at 500 Hz, the brightest a shelf of nearly 12 dB.
        assert!((level(-1.0, 500.0) + 3.0).abs() < 0.2);
        assert!((level(-1.0, 4000.0) + 18.0).abs() < 0.5);
        assert!((level(1.0, 15_000.0) - 11.2).abs() < 0.2);
        assert!((level(-0.5, 15_000.0) + 5.45).abs() < 0.1);
        for hz in [300.0, 1000.0, 3000.0, 10_000.0] {
            let levels: Vec<f32> = (-10..=10).map(|i| level(i as f32 * 0.1, hz)).collect();
            assert!(
                levels.windows(2).all(|pair| pair[1] > pair[0]),
                "{hz}: {levels:?}"
            );
        }
    }

    #[test]
    fn the_middle_is_the_identity() {
        let frames = [0.3, -1.0, 1e-40, 0.0, f32::MAX];
        let mut out = frames;
        Lows(0.7).run([Slope::new(0.0, RATE); 2], &mut out, 5);
        assert_eq!(out.map(f32::to_bits), frames.map(f32::to_bits));
    }

    #[test]
    fn a_tone_that_jumps_about_neither_clicks_nor_rings() {
        // The sine moves by at most 0.0131 a frame; the highs of it are few.
        let sine = |i: usize| (i as f32 * 0.0131).sin();
        let mut state = Lows::default();
        let mut last = Slope::new(0.0, RATE);
        let mut out: Vec<f32> = (0..32_000).map(sine).collect();
        for (i, frames) in out.chunks_mut(32).enumerate() {
            let to = Slope::new([0.0, -1.0, 1.0, -0.3, 0.6][i % 5], RATE);
            state.run([last, to], frames, 32);
            last = to;
        }
        let jumps = out.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        let largest = jumps.fold(0.0, f32::max);
        assert!(largest < 0.05, "{largest}");
        assert!(out.iter().all(|x| x.abs() < 1.5));
    }

    #[test]
    fn in_silence_it_comes_to_rest() {
        for tone in [-1.0, 1.0] {
            let slope = Slope::new(tone, RATE);
            let mut state = Lows::default();
            state.run([slope; 2], &mut [1.0], 1);
            let strides = (0..2000).find(|_| {
                state.run([slope; 2], &mut [0.0; 32], 32);
                state.0 == 0.0
            });
            assert!(strides.is_some(), "{tone}: {}", state.0);
        }
    }
}
