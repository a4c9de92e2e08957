//! Models of our own and of other programs: a model, or an error.

#![no_main]

use std::io::Write;
use std::path::Path;

use audiodiff::checkpoint::{Checkpoint, StorageType};
use audiodiff::import::{Import, ImportSettings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = Checkpoint::from_bytes(bytes, Path::new("fuzzed")) {
        let bytes = model
            .to_bytes(StorageType::F32)
            .expect("what was read can be written");
        let again = Checkpoint::from_bytes(&bytes, Path::new("again")).expect("and read again");
        assert_eq!(again.config, model.config);
    }
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    drop(
        Import::open(file.path(), &ImportSettings::default())
            .and_then(|import| import.checkpoint()),
    );
});
