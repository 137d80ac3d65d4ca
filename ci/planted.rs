//! The table of planted bugs, `ci/planted.txt`, read.

/// A bug that is planted in a copy of the tree.
#[derive(Debug)]
pub(crate) struct Planted {
    pub(crate) name: String,
    /// The file that it is planted in, from the root of the tree.
    pub(crate) file: String,
    /// The command that must fail then.
    pub(crate) check: String,
    /// Whole lines, each with its line break, and those in their place.
    pub(crate) places: Vec<(String, String)>,
}

impl Planted {
    /// Plants it in the text of its file.
    ///
    /// # Errors
    ///
    /// Some lines do not stand there exactly once.
    pub(crate) fn plant(&self, text: &str) -> Result<String, String> {
        let mut text = text.to_owned();
        for (find, replace) in &self.places {
            // At the beginning of a line only: an indented line ends like a shorter one.
            let whole = format!("\n{text}");
            let find = format!("\n{find}");
            let count = whole.matches(&find).count();
            if count != 1 {
                let (name, file) = (&self.name, &self.file);
                return Err(format!(
                    "{name}: these lines stand {count} times in {file}:{find}"
                ));
            }
            text = whole
                .replacen(&find, &format!("\n{replace}"), 1)
                .split_off(1);
        }
        Ok(text)
    }
}

/// Reads the table.
///
/// # Errors
///
/// A line is none that the table may have there.
pub(crate) fn read(table: &str) -> Result<Vec<Planted>, String> {
    let mut all: Vec<Planted> = Vec::new();
    for (number, line) in table.lines().enumerate() {
        let wrong = || format!("line {} of the table of planted bugs: {line}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            all.push(Planted {
                name: name.strip_suffix(']').ok_or_else(wrong)?.to_owned(),
                file: String::new(),
                check: String::new(),
                places: Vec::new(),
            });
            continue;
        }
        let bug = all.last_mut().ok_or_else(wrong)?;
        if bug.file.is_empty() {
            line.clone_into(&mut bug.file);
            continue;
        }
        if let Some(check) = line.strip_prefix("$ ") {
            check.clone_into(&mut bug.check);
            bug.places.push(Default::default());
            continue;
        }
        if line == "--" {
            bug.places.push(Default::default());
            continue;
        }
        let (find, replace) = bug.places.last_mut().ok_or_else(wrong)?;
        let (sign, rest) = line.split_at(1);
        let side = match sign {
            "-" if replace.is_empty() => find,
            "+" => replace,
            _ => return Err(wrong()),
        };
        side.push_str(rest.strip_prefix(' ').unwrap_or(rest));
        side.push('\n');
    }
    Ok(all)
}
