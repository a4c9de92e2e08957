//! `cargo xtask bundle audiodiff-plugin --release` builds the plugin and puts `audiodiff.clap` and
//! `audiodiff.vst3` into `target/bundled`, named by `bundler.toml`.

fn main() -> nice_plug_xtask::Result<()> {
    nice_plug_xtask::main()
}
