//! The plugin's projects: what makes sense opens, and is saved as what was opened.

#![no_main]

use audiodiff_plugin::project::Project;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(project) = serde_json::from_slice::<Project>(bytes) else {
        return;
    };
    for sound in project.pads.iter().flatten() {
        assert!(
            sound
                .clip()
                .channels()
                .iter()
                .flatten()
                .all(|x| x.is_finite())
        );
    }
    let text = serde_json::to_string(&project).expect("a project is text");
    let again: Project = serde_json::from_str(&text).expect("its own text");
    assert_eq!(again.pads, project.pads);
});
