//! What is left of a voice that was cut: the jump, which decays to nothing instead of clicking.

use super::SILENT;

/// Time constant with which a residual decays.
const RESIDUAL_MS: f32 = 2.0;

/// The sum of the jumps that cut voices left, left and right.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Residual([f32; 2]);

impl Residual {
    /// A voice was cut after this frame.
    pub(super) fn cut(&mut self, last: [f32; 2]) {
        self.0 = [self.0[0] + last[0], self.0[1] + last[1]];
    }

    /// Whether anything of it is to be heard.
    pub(super) fn is_heard(self) -> bool {
        self.0.iter().any(|x| x.abs() > SILENT)
    }

    /// Overwrites `left` and `right` with its next frames, unless there is nothing to hear; returns whether there is.
    pub(super) fn render(&mut self, left: &mut [f32], right: &mut [f32], rate: f32) -> bool {
        if !self.is_heard() {
            self.0 = [0.0; 2];
            return false;
        }
        let kept = (-1000.0 / (RESIDUAL_MS * rate)).exp();
        for (left, right) in left.iter_mut().zip(right) {
            self.0 = self.0.map(|x| x * kept);
            (*left, *right) = (self.0[0], self.0[1]);
        }
        true
    }
}
