//! What `--version --verbose` tells: how this binary was built, and what it finds here.

use std::io::Write;

use audiodiff::checkpoint::Checkpoint;
use audiodiff::network::Isa;

/// The features of this package that are built in.
const FEATURES: [(&str, bool); 5] = [
    ("play", cfg!(feature = "play")),
    ("embedded-model", cfg!(feature = "embedded-model")),
    ("cuda", cfg!(feature = "cuda")),
    ("metal", cfg!(feature = "metal")),
    ("mpi", cfg!(feature = "mpi")),
];

/// Writes a fact a line: its name, a colon, and what it is.
pub fn tell(out: &mut dyn Write) -> anyhow::Result<()> {
    use std::env::consts::{ARCH, OS};
    let features = FEATURES.iter().filter(|(_, is_built_in)| *is_built_in);
    let features: Vec<&str> = features.map(|(name, _)| *name).collect();
    let sets: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let model = match Checkpoint::built_in()? {
        Some(model) => format!(
            "{}, fingerprint {}",
            model.config.name,
            model.fingerprint()?
        ),
        None => "none is built in".to_owned(),
    };
    writeln!(out, "audiodiff {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "features: {}", listed(&features))?;
    writeln!(out, "built for: {ARCH} {OS}, {}", profile())?;
    writeln!(out, "instruction sets found: {}", listed(&sets))?;
    writeln!(out, "instruction set used: {}", Isa::current()?.name())?;
    writeln!(out, "threads: {threads}")?;
    Ok(writeln!(out, "model: {model}")?)
}

fn profile() -> &'static str {
    match cfg!(debug_assertions) {
        true => "for debugging",
        false => "optimized",
    }
}

fn listed(words: &[&str]) -> String {
    match words {
        [] => "none".to_owned(),
        words => words.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_what_is_built_in_and_what_is_found() {
        let mut text = Vec::new();
        tell(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let fact = |name: &str| {
            let mut lines = text.lines();
            let found = lines.find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| panic!("{name} is not in {text}"))
        };
        assert!(text.starts_with(concat!("audiodiff ", env!("CARGO_PKG_VERSION"), "\n")));
        assert_eq!(fact("features: ").contains("cuda"), cfg!(feature = "cuda"));
        let sets: Vec<&str> = fact("instruction sets found: ").split(", ").collect();
        assert_eq!(sets[0], "portable");
        assert!(sets.contains(&fact("instruction set used: ")));
        let model = fact("model: ");
        match Checkpoint::built_in().unwrap() {
            Some(built_in) => assert!(model.ends_with(&built_in.fingerprint().unwrap())),
            None => assert_eq!(model, "none is built in"),
        }
    }
}
