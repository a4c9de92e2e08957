//! The forms that `dance.py` writes, for every test that reads them.

/// Every form, and the rate where it does not say its own.
pub const FORMS: [(&str, Option<u32>); 7] = [
    ("lightning.ckpt", None),
    ("trimmed.ckpt", Some(44_100)),
    ("converted.ckpt", None),
    ("wrapped/tools.ckpt", None),
    ("unwrapped/tools.safetensors", None),
    ("folder", None),
    ("folder_bin", None),
];
