//! A QR code in a terminal.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around a code, as its standard wants; cameras do with half of it.
const QUIET: usize = 4;
const LITTLE_QUIET: usize = 2;
/// Black on white, whatever colours the terminal has: a code in its opposite is not read by every camera.
const PAPER: &str = "\u{1b}[38;5;16m\u{1b}[48;5;231m";
const RESET: &str = "\u{1b}[0m";

/// The terminal is too narrow, and a code that is broken over lines is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooWide {
    /// Columns that it needs.
    pub(super) columns: usize,
}

/// `text`, which has letters and digits alone, in upper case, for which QR has a form of its own. Two rows of the code are one
/// line. Without `colours` the letters are taken to be light and the ground dark.
///
/// # Errors
/// It is wider than `width`.
pub(super) fn draw(text: &str, width: Option<usize>, colours: bool) -> Result<String, TooWide> {
    let never = || TooWide { columns: usize::MAX };
    let code = QrCode::with_error_correction_level(text.to_ascii_uppercase(), EcLevel::L).map_err(|_| never())?;
    let modules = code.width();
    let fits = |quiet: &usize| width.is_none_or(|width| modules + 2 * quiet <= width);
    let quiet = [QUIET, LITTLE_QUIET].into_iter().find(fits).ok_or(TooWide {
        columns: modules + 2 * LITTLE_QUIET,
    })?;
    let side = modules + 2 * quiet;
    let colors = code.to_colors();
    let is_dark = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(quiet).filter(|at| *at < modules);
        let at = inside(x).zip(inside(y)).map(|(x, y)| y * modules + x);
        at.and_then(|at| colors.get(at))
            .is_some_and(|color| *color == Color::Dark)
    };
    let mut drawn = String::new();
    for y in (0..side).step_by(2) {
        drawn.push_str(if colours { PAPER } else { "" });
        for x in 0..side {
            // Below the last row of an odd number is paper.
            let ink = |y: usize| is_dark(x, y) == colours;
            drawn.push(match (ink(y), ink(y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawn.push_str(if colours { RESET } else { "" });
        drawn.push('\n');
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_drawn_as_wide_as_it_is() {
        let text = format!("odfs1{}", "abcdefghijklmnopqrstuvwxyz234567".repeat(6));
        let plain = draw(&text, None, false).unwrap();
        let lines: Vec<&str> = plain.lines().collect();
        let side = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == side));
        assert_eq!(lines.len(), side.div_ceil(2));
        // 197 letters and digits fit into version 7, of 45 modules: bytes would need version 9.
        assert_eq!(side, 45 + 2 * QUIET);
        // Light around it, and the corner of a finder pattern within: dark, so no ink on a dark ground.
        assert_eq!(lines[0], "█".repeat(side));
        assert_eq!(lines[QUIET / 2].chars().nth(QUIET), Some(' '));

        let coloured = draw(&text, Some(side), true).unwrap();
        let first = coloured.lines().nth(QUIET / 2).unwrap();
        let drawn = first.strip_prefix(PAPER).unwrap().strip_suffix(RESET).unwrap();
        assert_eq!(drawn.chars().nth(QUIET), Some('█'));

        let narrow = draw(&text, Some(side - 1), false).unwrap();
        assert_eq!(narrow.lines().next().unwrap().chars().count(), 45 + 2 * LITTLE_QUIET);
        let columns = 45 + 2 * LITTLE_QUIET;
        assert_eq!(draw(&text, Some(columns - 1), true), Err(TooWide { columns }));
    }
}
