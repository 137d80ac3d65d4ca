//! [`Arguments`]: the command, and its options.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
concurrent-futures beside pools of other people

  check   a line for each bar of the thread pool (rows W) and of the process pool (rows P);
          exit status 1 if one is missed
  report  all contenders of these rows, and of those that have no bar

Options:
  --only W1,P5   these rows alone; `W` and `P` for all of a pool, `guard` and `P-guard` for
                 the guards; report knows submitters, pending, cancelled, scope and map
                 besides, and how processes grow: tasks, workers and memory
  --rounds N     rounds of each row (7)
  --tsv FILE     the lines once more, in columns that tabs divide (check)
";

/// The command, which has a table of its own each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Check,
    Report,
}

/// The command line, read.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) command: Command,
    /// None: all.
    pub(crate) only: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) tsv: Option<PathBuf>,
}

impl Arguments {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// The sentence that says what is wrong with it.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let command = match words.next().as_deref() {
            Some("check") => Command::Check,
            Some("report") => Command::Report,
            Some(other) => return Err(format!("there is no command {other}")),
            None => return Err("a command is missing".into()),
        };
        let mut arguments = Self {
            command,
            only: Vec::new(),
            rounds: 7,
            tsv: None,
        };
        while let Some(option) = words.next() {
            let value = words.next().ok_or(format!("{option} wants a value"))?;
            match option.as_str() {
                "--only" => arguments.only = value.split(',').map(String::from).collect(),
                "--rounds" => {
                    let rounds = value.parse().ok().filter(|&rounds| rounds > 0);
                    arguments.rounds = rounds.ok_or("--rounds wants a number above 0")?;
                }
                "--tsv" => arguments.tsv = Some(value.into()),
                _ => return Err(format!("there is no option {option}")),
            }
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn options_follow_the_command() {
        let arguments = parse("check --only W1,W3 --rounds 9 --tsv table").expect("it is right");
        assert_eq!(arguments.command, Command::Check);
        assert_eq!(arguments.only, ["W1", "W3"]);
        assert_eq!(arguments.rounds, 9);
        assert_eq!(arguments.tsv, Some("table".into()));
        assert_eq!(parse("report").expect("it is right").rounds, 7);
    }

    #[test]
    fn faults_are_named() {
        for line in [
            "",
            "run",
            "processes",
            "check --only",
            "check --rounds 0",
            "check --fast 1",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
