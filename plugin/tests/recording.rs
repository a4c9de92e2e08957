//! What the instrument plays is what its recording has, and the audio thread never allocates for it.

use std::time::Duration;

use audiodiff::audio::{self, BitDepth, Clip};
use audiodiff_plugin::Audiodiff;
use audiodiff_plugin::stored::{SoundRecipe, StoredSound};
use nice_assert_no_alloc::assert_no_alloc;
use nice_plug::midi::{Channel, Key, VoiceID};
use nice_plug::prelude::*;

#[test]
fn a_recording_has_the_frames_of_process() {
    let mut plugin = Audiodiff::default();
    let closed = Box::new(|_: Option<&std::path::Path>| Err(audiodiff::Error::setting("no model")));
    plugin.prepare(48_000.0, closed).unwrap();
    let ramp = (0..48_000)
        .map(|n| (n % 100) as f32 / 200.0 - 0.25)
        .collect();
    let recipe = SoundRecipe::of_file(std::path::Path::new("ramp.wav"));
    let sound = StoredSound::new(recipe, &Clip::new(48_000, vec![ramp]));
    plugin.store().put(0, sound).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("take.wav");
    let display = plugin.display().clone();
    let mut played = [Vec::new(), Vec::new()];
    let mut block = |frames: usize, notes: &[u8], is_kept: bool| {
        let [mut left, mut right] = [vec![9.0; frames], vec![9.0; frames]];
        let on = |&key: &u8| NoteEvent::NoteOn {
            timing: 0,
            voice_id: VoiceID::Wildcard,
            channel: Channel::Number(0),
            key: Key::Number(key),
            velocity: 1.0,
        };
        let events: Vec<NoteEvent<()>> = notes.iter().map(on).collect();
        assert_no_alloc(|| {
            let mut events = events.iter().copied();
            let mut next = || events.next();
            plugin.play(&mut left, &mut right, &mut [], &mut next, &mut |_, _| {});
        });
        if is_kept {
            played[0].extend(left);
            played[1].extend(right);
        }
    };
    block(512, &[36], false);
    display.recorder().start(&path).unwrap();
    for frames in [1, 512, 31, 4096, 64].into_iter().cycle().take(60) {
        block(frames, &[36], true);
        std::thread::sleep(Duration::from_millis(1));
    }
    let recording = display.recorder().stop().unwrap().unwrap();
    block(512, &[], false);
    assert_eq!(
        (recording.lost, recording.frames),
        (0, played[0].len() as u64)
    );
    let expected = folder.path().join("expected.wav");
    let played = Clip::new(48_000, played.into());
    assert!(played.peak() > 0.1, "something was heard");
    audio::write_wav(&expected, &played, BitDepth::Int24).unwrap();
    let [found, expected] = [&path, &expected].map(|path| audio::read(path).unwrap());
    assert_eq!(found.channels(), expected.channels());
}
