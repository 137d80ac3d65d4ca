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
    "nobody",
    "anybody",
    "somebody",
    "everybody",
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
    for (path, text) in ["src", "tests", "examples", "benches", "ci"]
        .map(sources)
        .concat()
    {
        if path.ends_with("tidy/words.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if has_word_of(PRIVATE, line) {
                faults.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Returns `true` if one of these words is a word of the line, or a part of a name in it.
fn has_word_of(words: &[&str], line: &str) -> bool {
    let is_word = |word: &str| words.contains(&word.to_lowercase().as_str());
    line.split(|c: char| !c.is_alphanumeric()).any(|name| {
        let starts = name.match_indices(char::is_uppercase).map(|(at, _)| at);
        let ends = starts.clone().skip(1).chain([name.len()]);
        is_word(name) || starts.zip(ends).any(|(from, to)| is_word(&name[from..to]))
    })
}

#[test]
fn words_are_found_in_names() {
    for line in [
        "a seat",
        "Seat",
        "AnySeat",
        "SeatOfOne",
        "any_seat()",
        "SEAT",
    ] {
        assert!(has_word_of(PRIVATE, line), "{line}");
    }
    assert!(!has_word_of(PRIVATE, "Seating seats AnySeats"));
}
