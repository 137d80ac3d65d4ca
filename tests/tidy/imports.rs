//! The imports between files, as far as paths show them, and circles among them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{code, sources};

/// Each file of `src/` with the files that it imports from.
///
/// A path that leads to the `mod.rs` above a file is no import: it holds what all
/// files of its folder share.
pub(crate) fn graph() -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let sources: Vec<(PathBuf, String)> = sources("src")
        .into_iter()
        .filter(|(path, _)| path != Path::new("src/lib.rs") && !is_test(path))
        .collect();
    let modules: BTreeMap<Vec<String>, PathBuf> = sources
        .iter()
        .map(|(path, _)| (module(path), path.clone()))
        .collect();
    let edges = |(path, text): &(PathBuf, String)| {
        let own = module(path);
        let imported = paths(&without_tests(text))
            .into_iter()
            .filter_map(|path| file_of(&resolve(&own, path)?, &modules));
        let above = |file: &PathBuf| own.starts_with(&module(file));
        let imported: BTreeSet<PathBuf> = imported.filter(|file| !above(file)).collect();
        (path.clone(), imported)
    };
    sources.iter().map(edges).collect()
}

/// A circle of imports, if there is one: each file imports the next.
pub(crate) fn circle(graph: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> Option<Vec<PathBuf>> {
    fn visit<'a>(
        file: &'a PathBuf,
        graph: &'a BTreeMap<PathBuf, BTreeSet<PathBuf>>,
        way: &mut Vec<&'a PathBuf>,
        left: &mut BTreeSet<&'a PathBuf>,
    ) -> Option<Vec<PathBuf>> {
        if let Some(at) = way.iter().position(|before| *before == file) {
            return Some(way[at..].iter().copied().cloned().collect());
        }
        if left.contains(file) {
            return None;
        }
        way.push(file);
        let found = graph
            .get(file)?
            .iter()
            .find_map(|next| visit(next, graph, way, left));
        way.pop();
        left.insert(file);
        found
    }
    let mut left = BTreeSet::new();
    graph
        .keys()
        .find_map(|file| visit(file, graph, &mut Vec::new(), &mut left))
}

pub(crate) fn is_test(path: &Path) -> bool {
    let text = path.to_str().unwrap();
    let endings = ["tests.rs", "model.rs"];
    let is_inside = ["_tests/", "fuzz"].iter().any(|part| text.contains(part));
    is_inside || endings.iter().any(|ending| text.ends_with(ending))
}

/// Returns the part of a file that stands before its tests.
pub(crate) fn before_tests(text: &str) -> &str {
    let tests = ["\n#[cfg(test)]\nmod ", "\n#[cfg(all(test"];
    let end = tests.iter().filter_map(|tests| text.find(tests)).min();
    &text[..end.unwrap_or(text.len())]
}

fn without_tests(text: &str) -> String {
    code(before_tests(text)).collect::<Vec<_>>().join("\n")
}

/// The module of a file below `src/`, as the names of its path.
fn module(path: &Path) -> Vec<String> {
    let below = path.strip_prefix("src").unwrap().with_extension("");
    let names = below.iter().map(|name| name.to_str().unwrap().to_owned());
    names.filter(|name| name != "mod").collect()
}

/// A path from the root of the crate; `None` if it does not begin in the crate.
fn resolve(own: &[String], path: Vec<String>) -> Option<Vec<String>> {
    let mut names = path.into_iter().peekable();
    let mut place = match &*names.next()? {
        "crate" => Vec::new(),
        "self" => own.to_vec(),
        "super" => own.split_last()?.1.to_vec(),
        _ => return None,
    };
    while names.next_if(|name| name == "super").is_some() {
        place.pop();
    }
    place.extend(names);
    Some(place)
}

/// The file of the longest part of a path that is a module.
fn file_of(path: &[String], modules: &BTreeMap<Vec<String>, PathBuf>) -> Option<PathBuf> {
    let parts = (1..=path.len()).rev();
    parts
        .map(|length| &path[..length])
        .find_map(|part| modules.get(part).cloned())
}

/// The paths in code that begin with `crate`, `self` or `super`, one for each name
/// of a group.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut tokens = tokens(code).into_iter().peekable();
    let mut found = Vec::new();
    let mut before = String::new();
    while let Some(token) = tokens.next() {
        let begins = matches!(&*token, "crate" | "self" | "super") && before != "::";
        if begins && tokens.peek().is_some_and(|next| next == "::") {
            tokens.next();
            before.clear();
            path(vec![token], &mut tokens, &mut found);
        } else {
            before = token;
        }
    }
    found
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<String>>;

/// Reads what follows `prefix::`.
fn path(mut prefix: Vec<String>, tokens: &mut Tokens, found: &mut Vec<Vec<String>>) {
    while let Some(token) = tokens.next() {
        if token == "{" {
            while let Some(name) = tokens.next_if(|token| token != "}") {
                if name == "," {
                    continue;
                }
                let mut inner = prefix.clone();
                if name != "self" {
                    inner.push(name);
                }
                if tokens.next_if(|token| token == "::").is_some() {
                    path(inner, tokens, found);
                } else {
                    found.push(inner);
                }
            }
            tokens.next();
            return;
        }
        prefix.push(token);
        if tokens.next_if(|token| token == "::").is_none() {
            break;
        }
    }
    found.push(prefix);
}

fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut was_word = false;
    for c in code.chars() {
        let is_word = c.is_alphanumeric() || c == '_';
        let is_second_colon = c == ':' && tokens.last().is_some_and(|last| last == ":");
        match tokens.last_mut() {
            Some(last) if (is_word && was_word) || is_second_colon => last.push(c),
            _ if c.is_whitespace() => {}
            _ => tokens.push(c.to_string()),
        }
        was_word = is_word;
    }
    tokens
}

#[test]
fn paths_are_found_in_groups_and_in_code() {
    let code = "use super::{a, b::{self, C}}; fn f() { crate::x::y::Z::new(self.n) }";
    let found: Vec<String> = paths(code).iter().map(|path| path.join(" ")).collect();
    let expected = ["super a", "super b", "super b C", "crate x y Z new"];
    assert_eq!(found, expected);
}

#[test]
fn a_circle_is_found() {
    let edges = |edges: &[(&str, &[&str])]| {
        let edge = |(file, imports): &(&str, &[&str])| {
            (file.into(), imports.iter().map(PathBuf::from).collect())
        };
        edges.iter().map(edge).collect()
    };
    let tree = edges(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]);
    assert_eq!(circle(&tree), None);
    let tied = edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
    assert_eq!(circle(&tied), Some(vec!["b".into(), "c".into()]));
}
