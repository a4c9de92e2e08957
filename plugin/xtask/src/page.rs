//! The page: `web/` as one file, with the model in it, that needs no server and no other file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use wasm_bindgen_cli_support::Bindgen;

use super::package::gzip;

/// The target whose programs browsers run.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// The page of the files in `web` and of the program `wasm` that was compiled from there, with the `notices` of what is in
/// it. `folder` takes what is made on the way.
///
/// # Errors
/// When a file cannot be read, or the page has no place for a part or a part does not fit into its place.
pub fn build(web: &Path, wasm: &Path, notices: &str, folder: &Path) -> Result<String> {
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(wasm)
        .out_name("audiodiff")
        .no_modules(true)?
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true);
    bindgen.generate(folder)?;
    let glue = read(&folder.join("audiodiff.js"))?;
    let place = folder.join("audiodiff_bg.wasm");
    let program = fs::read(&place).with_context(|| place.display().to_string())?;
    let worker = glue + &read(&web.join("worker.js"))?;
    assemble(
        &read(&web.join("index.html"))?,
        &[
            ("notices", &escaped(notices)),
            ("page.js", &read(&web.join("page.js"))?),
            ("worker.js", &worker),
            ("audiodiff.wasm", &STANDARD.encode(gzip(&program)?)),
        ],
    )
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Text as HTML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Puts each part where `<!-- its name -->` stands, within an element `script` or as text.
fn assemble(page: &str, parts: &[(&str, &str)]) -> Result<String> {
    let mut page = page.to_owned();
    for (name, part) in parts {
        // An element `script` ends at the first that looks like its end, and goes on behind what looks like a comment.
        let read = part.to_lowercase();
        if let Some(wrong) = ["</script", "<!--", "<script"]
            .iter()
            .find(|it| read.contains(**it))
        {
            bail!("{name}: expected nothing that HTML reads in a script, found {wrong}");
        }
        let place = format!("<!-- {name} -->");
        match page.matches(&place).count() {
            1 => page = page.replacen(&place, part, 1),
            found => bail!("index.html: expected {place} once, found it {found} times"),
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_put_into_its_place_once() {
        let page = "<script><!-- a.js --></script><script><!-- b --></script>";
        let whole = assemble(page, &[("a.js", "let a = 1;"), ("b", "AAAA")]).unwrap();
        assert_eq!(whole, "<script>let a = 1;</script><script>AAAA</script>");
        for (parts, wrong) in [
            (("a.js", "'</Script>'"), "</script"),
            (("a.js", "'<!-- b -->'"), "<!--"),
            (("c.js", ""), "<!-- c.js --> once, found it 0 times"),
        ] {
            let reason = assemble(page, &[parts]).unwrap_err().to_string();
            assert!(reason.contains(wrong), "{reason}");
        }
    }

    #[test]
    fn the_page_has_a_place_for_every_part() {
        let web = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web"));
        let [page, script, worker] =
            ["index.html", "page.js", "worker.js"].map(|name| read(&web.join(name)).unwrap());
        let notices = escaped("MIT & <!-- </script> <year>");
        let parts = [
            ("notices", &*notices),
            ("page.js", &script),
            ("worker.js", &worker),
            ("audiodiff.wasm", ""),
        ];
        let whole = assemble(&page, &parts).unwrap();
        assert!(!whole.contains("<!--"), "a place without a part");
        assert!(whole.contains(&script) && whole.contains(&worker));
        assert!(whole.contains("MIT &amp; &lt;!-- &lt;/script&gt; &lt;year&gt;"));
        // One file: nothing is fetched.
        for outside in ["src=", "http://", "https://", "import "] {
            assert!(!whole.contains(outside), "{outside}");
        }
    }
}
