//! Sound files: a sound, or an error.

#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    if let Ok(read) = audiodiff::audio::decode(file.path(), Some(10.0)) {
        assert!(read.clip.len_frames() > 0);
    }
});
