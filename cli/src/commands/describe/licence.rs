//! Which licences there are: those of the SPDX list, so that no misspelt one stands in a chain for ever with a page that is
//! not there.

use spdx::identifiers::LICENSES;

/// How alike a text and an identifier must be, from 0 to 1, for one to be meant by the other.
const ALIKE: f64 = 0.8;

/// The identifier as the list spells it.
///
/// # Errors
/// There is none of this name; the nearest is told.
pub(super) fn spdx(text: &str) -> Result<String, String> {
    let names = || LICENSES.iter().map(|licence| licence.name);
    if let Some(name) = names().find(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(name.to_owned());
    }
    // How people write them: `cc by 4.0`, `Apache 2.0`.
    let wanted = folded(text);
    let likeness = |name: &'static str| (strsim::jaro_winkler(&wanted, &folded(name)), name);
    let nearest = names().map(likeness).max_by(|one, other| one.0.total_cmp(&other.0));
    Err(match nearest.filter(|(alike, _)| *alike >= ALIKE) {
        Some((_, name)) => format!("no licence is called so; did you mean {name}?"),
        None => "no licence is called so; https://spdx.org/licenses has those that there are, such as CC-BY-4.0, CC0-1.0 or \
                 ODbL-1.0"
            .to_owned(),
    })
}

/// Small letters and digits only.
fn folded(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_set_right_and_what_is_no_licence_is_refused_with_the_nearest() {
        for (given, name) in [("cc-by-4.0", "CC-BY-4.0"), ("MIT", "MIT"), ("odbl-1.0", "ODbL-1.0")] {
            assert_eq!(spdx(given), Ok(name.to_owned()));
        }
        for (given, meant) in [
            ("CC-BY 4.0", "CC-BY-4.0"),
            ("CC-BY-4", "CC-BY-4.0"),
            ("Apache 2", "Apache-2.0"),
        ] {
            let error = spdx(given).unwrap_err();
            assert!(error.contains(&format!("did you mean {meant}?")), "{given}: {error}");
        }
        for given in ["", "foo", "§"] {
            assert!(
                spdx(given).unwrap_err().contains("https://spdx.org/licenses"),
                "{given}"
            );
        }
    }
}
