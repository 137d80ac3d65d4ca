//! The language of the documentation.

use super::sources;

/// Words with which no documentation begins: it says what a thing is or does, and
/// does not ask.
const ASKING: &[&str] = &[
    "What", "Whether", "How", "Who", "Whoever", "Whose", "Why", "Where", "When", "Which", "Nobody",
    "Somebody",
];

/// Private words that the sources once had, and nobody else would understand.
const PRIVATE: &[&str] = &[
    "tidings",
    "telling",
    "teller",
    "seat",
    "hush",
    "lane",
    "owed",
    "whoever",
    "invite",
    "invitation",
];

#[test]
fn documentation_begins_with_a_verb_or_a_noun() {
    let mut faults = Vec::new();
    for folder in ["src", "tests", "examples", "benches", "ci"] {
        for (path, text) in sources(folder) {
            let mut was_doc = false;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim_start();
                let doc = line.strip_prefix("///").or(line.strip_prefix("//!"));
                let first = doc.and_then(|doc| doc.split_whitespace().next());
                if !was_doc && first.is_some_and(|first| ASKING.contains(&first)) {
                    faults.push(format!("{}:{}: {line}", path.display(), number + 1));
                }
                was_doc = doc.is_some();
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_private_word_comes_back() {
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric());
            if words.any(|word| PRIVATE.contains(&word.to_lowercase().as_str())) {
                faults.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
