//! The glide of a voice from one key to another.

/// A key that moves to its place in a straight line, in semitones over time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glide {
    /// Semitones where it arrives.
    to: f32,
    /// Semitones from there to where it began.
    away: f32,
    /// Time from its beginning to its arrival, ms.
    whole_ms: f32,
    /// Time until it arrives, ms.
    left_ms: f32,
}

impl Glide {
    /// A key that is where it is, in semitones.
    pub(super) fn at(key: f32) -> Self {
        Self {
            to: key,
            away: 0.0,
            whole_ms: 0.0,
            left_ms: 0.0,
        }
    }

    /// From one key to another within so many ms; at once where these are 0.
    pub(super) fn between(from: f32, to: f32, ms: f32) -> Self {
        Self {
            to,
            away: from - to,
            whole_ms: ms,
            left_ms: ms,
        }
    }

    /// Where it is now, in semitones.
    pub(super) fn now(self) -> f32 {
        if self.left_ms > 0.0 {
            self.to + self.away * (self.left_ms / self.whole_ms)
        } else {
            self.to
        }
    }

    /// Lets so many ms pass; returns where it was before, and where it is now.
    pub(super) fn advance(&mut self, ms: f32) -> [f32; 2] {
        let from = self.now();
        self.left_ms = (self.left_ms - ms).max(0.0);
        [from, self.now()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_evenly_and_arrives_in_time() {
        let mut glide = Glide::between(-12.0, 7.0, 80.0);
        assert_eq!(glide.now(), -12.0);
        assert_eq!(glide.advance(40.0), [-12.0, -2.5]);
        assert_eq!(glide.advance(40.0), [-2.5, 7.0]);
        assert_eq!(glide.advance(1.0), [7.0, 7.0]);
        assert_eq!(Glide::between(3.0, 5.5, 0.0).now(), 5.5);
        assert_eq!(Glide::at(-0.1).now(), -0.1);
    }
}
