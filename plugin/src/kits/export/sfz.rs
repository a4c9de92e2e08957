//! SFZ: opcodes, in a text of its own.

use std::fmt::Write;

use super::{Kit, Pad, SAMPLES};
use crate::voice::{Mode, Polyphony};

/// Velocities at which a curve is said; the player draws lines between them.
const POINTS: [u8; 9] = [1, 16, 32, 48, 64, 80, 96, 112, 127];

/// The instrument as an SFZ file.
pub(super) fn instrument(kit: &mut Kit) -> Vec<u8> {
    let mut text = format!(
        "// {}\n<control> default_path={SAMPLES}/\n",
        line(&kit.name)
    );
    for pad in &kit.pads {
        // Writing to a text does not fail.
        let _ = group(&mut text, pad);
    }
    text.into_bytes()
}

fn group(text: &mut String, pad: &Pad) -> std::fmt::Result {
    let controls = &pad.controls;
    let key = pad.key;
    writeln!(text, "\n<group> group_label={}", line(&pad.name))?;
    writeln!(text, "key={key} pitch_keycenter={key}")?;
    let tune = (100.0 * controls.pitch).round() as i32;
    let (pan, more_db) = equal_power(controls.pan);
    writeln!(text, "volume={:.3} pan={pan:.3}", pad.gain_db() + more_db)?;
    writeln!(text, "transpose={} tune={}", tune / 100, tune % 100)?;
    // A line, where the format's own is a parabola.
    writeln!(text, "amp_veltrack={:.2}", 100.0 * controls.velocity)?;
    for velocity in POINTS {
        let level = controls.curved(f32::from(velocity) / 127.0);
        write!(text, "amp_velcurve_{velocity}={level:.6} ")?;
    }
    writeln!(text)?;
    if controls.choke > 0 {
        let group = controls.choke;
        writeln!(text, "group={group} off_by={group} off_mode=fast")?;
    }
    if controls.voices == Polyphony::Mono {
        writeln!(text, "note_polyphony=1")?;
    }
    let mode = match controls.mode {
        Mode::OneShot => "one_shot",
        Mode::Loop if pad.looped.is_some() => "loop_continuous",
        Mode::Gate | Mode::Loop => "no_loop",
    };
    writeln!(text, "loop_mode={mode}")?;
    if let Some([start, end]) = pad.looped {
        writeln!(text, "loop_start={start} loop_end={end}")?;
    }
    if pad.has_envelope() {
        let seconds = |ms: f32| ms / 1000.0;
        writeln!(
            text,
            "ampeg_attack={:.5} ampeg_hold={:.5} ampeg_decay={:.5} ampeg_sustain={:.3} ampeg_release={:.5}",
            seconds(controls.attack_ms),
            seconds(controls.hold_ms),
            seconds(controls.decay_ms),
            100.0 * controls.sustain,
            seconds(controls.release_ms),
        )?;
    }
    if pad.takes_turns() {
        writeln!(text, "seq_length={}", pad.sounds.len())?;
    }
    for (turn, sound) in pad.sounds.iter().enumerate() {
        let [low, high] = sound.velocities;
        if low > high {
            continue;
        }
        write!(text, "<region> ")?;
        if pad.takes_turns() {
            write!(text, "seq_position={} ", turn + 1)?;
        }
        if [low, high] != [1, 127] {
            write!(text, "lovel={low} hivel={high} ")?;
        }
        // To the end of the line: names have spaces.
        writeln!(text, "sample={}", sound.file)?;
    }
    Ok(())
}

/// A pan, which turns the other side down, for a player that keeps the power: percent, and dB by which its louder side is
/// to be lowered to what it has in the middle.
fn equal_power(pan: f32) -> (f32, f32) {
    use std::f32::consts::{FRAC_1_SQRT_2, FRAC_PI_4};
    let softer = (1.0 - pan.abs()).clamp(0.0, 1.0);
    let angle = softer.atan();
    let percent = pan.signum() * 100.0 * (1.0 - angle / FRAC_PI_4);
    (percent, 20.0 * (FRAC_1_SQRT_2 / angle.cos()).log10())
}

/// A text that neither ends a line nor begins a comment or a header.
fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
        .replace(['<', '>', '=', '/', '$', '#'], " ")
}
