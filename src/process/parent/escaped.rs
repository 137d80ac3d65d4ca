//! The escape of text that comes from a worker's host and becomes a part of an error.

/// Escapes the characters that control a terminal, separate lines, or change the direction
/// of the text, because the user may print the error. A tab becomes a space.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => escaped.push(' '),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                escaped.extend(character.escape_default());
            }
            _ if character.is_control() => escaped.extend(character.escape_default()),
            _ => escaped.push(character),
        }
    }
    escaped
}
