//! The list of files in `ARCHITECTURE.md`, which this test makes.

use std::fs;

use super::{LAYERS, module_of, root, sources};

const BEGIN: &str = "<!-- map -->\n";
const END: &str = "<!-- end of map -->\n";

/// Each file of `src/` but tests and drivers of fuzz targets, by layer, with the first
/// sentence that it says of itself.
fn map() -> String {
    let mut files: Vec<(u8, String, String)> = Vec::new();
    for (path, text) in sources("src") {
        let name = path.to_str().unwrap().to_owned();
        let is_driver = name.contains("fuzz");
        if name == "src/lib.rs" || name.contains("tests") || name.ends_with("model.rs") || is_driver
        {
            continue;
        }
        let module = module_of(&path);
        let layer = LAYERS.iter().find(|(name, _)| *name == module);
        let (_, layer) = layer.unwrap_or_else(|| panic!("no layer for {name}"));
        files.push((*layer, name, first_sentence(&text)));
    }
    files.sort();
    let mut map = String::from("| layer | file | holds |\n|---|---|---|\n");
    for (layer, name, sentence) in files {
        let name = name.strip_prefix("src/").unwrap();
        map += &format!("| {layer} | `{name}` | {sentence} |\n");
    }
    map
}

/// The first sentence of a file's own documentation, without its name in front and
/// without links.
fn first_sentence(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let paragraph: Vec<&str> = lines.map(str::trim).take_while(|l| !l.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |end| end + 1);
    paragraph[..end].replace("[`", "`").replace("`]", "`")
}

#[test]
fn the_map_names_each_file() {
    let path = root().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the map begins");
    let (found, after) = rest.split_once(END).expect("the map ends");
    let map = map();
    if std::env::var_os("UPDATE_MAP").is_some() {
        return fs::write(&path, format!("{before}{BEGIN}{map}{END}{after}")).unwrap();
    }
    let advice = "the map is old: `UPDATE_MAP=1 cargo test --test tidy` writes it anew";
    assert!(found == map, "{advice}");
}
