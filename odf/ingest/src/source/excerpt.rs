//! Values from outside, short enough for a message.

/// Shortens a value for a message.
pub(crate) fn shorten(value: &str) -> String {
    const LONGEST: usize = 60;
    if value.chars().count() <= LONGEST {
        value.to_owned()
    } else {
        let head: String = value.chars().take(LONGEST).collect();
        format!("{head}…")
    }
}
