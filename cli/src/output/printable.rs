//! Text from outside, made fit for a terminal.

/// Text from outside as a terminal may show it: control characters, which could move the cursor or change colours,
/// become visible.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() && c != '\n' {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}
