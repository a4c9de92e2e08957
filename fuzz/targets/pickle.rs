//! The pickle of a PyTorch checkpoint: a model, or an error.

#![no_main]

use std::io::{Cursor, Write};

use audiodiff::import::{Import, ImportSettings};
use libfuzzer_sys::fuzz_target;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fuzz_target!(|pickle: &[u8]| {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &[0; 64])] {
        archive.start_file(name, stored).expect("an entry");
        archive.write_all(bytes).expect("written");
    }
    let bytes = archive.finish().expect("an archive").into_inner();
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&bytes).expect("written");
    let settings = ImportSettings {
        sample_rate: Some(44_100),
        length: Some(24),
        ..ImportSettings::default()
    };
    drop(Import::open(file.path(), &settings).and_then(|import| import.checkpoint()));
});
