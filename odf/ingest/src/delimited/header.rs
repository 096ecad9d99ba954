//! Which column of a delimited file is which: by the names in its header, wherever there is one.
//!
//! Where a source declares columns, a header that has exactly those names gives them in any order. A header that has the
//! names at their places but for case, blanks and punctuation, or that has none of them at all, renames the columns, as in
//! kamu: they are taken by place. In every other case a name and a place contradict each other, or a column would be
//! dropped or left empty, and the file is refused.

use crate::source::{Difference, Problem};

/// The names of the columns in the order of the file, where `header` stands in the file and `declared` in the source.
pub(super) fn names_of(header: Vec<String>, declared: &[&str]) -> Result<Vec<String>, Problem> {
    let difference = Difference::between(&header, declared);
    if difference.is_none() {
        return Ok(header);
    }
    let by_place = || declared.iter().map(|name| (*name).to_owned()).collect();
    if header.len() == declared.len() {
        let (given, wanted): (Vec<_>, Vec<_>) = (
            header.iter().map(|name| folded(name)).collect(),
            declared.iter().map(|name| folded(name)).collect(),
        );
        if given == wanted || !given.iter().any(|name| wanted.contains(name)) {
            return Ok(by_place());
        }
    }
    Err(Problem::Header(difference))
}

/// Whether a header has none of the names that the source declares, however they are written.
pub(super) fn is_strange(header: &[String], declared: &[&str]) -> bool {
    let declared: Vec<String> = declared.iter().map(|name| folded(name)).collect();
    !header.iter().any(|name| declared.contains(&folded(name)))
}

/// What is left of a name without case, blanks and punctuation; the name itself if that is nothing.
fn folded(name: &str) -> String {
    let letters: String = name
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    if letters.is_empty() { name.to_owned() } else { letters }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(header: &str, declared: &str) -> Result<String, String> {
        let header = header.split(',').map(str::to_owned).collect();
        let declared: Vec<&str> = declared.split(',').collect();
        names_of(header, &declared)
            .map(|names| names.join(","))
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_header_without_any_of_the_names_is_strange() {
        let is_strange = |header: &str| {
            let header: Vec<String> = header.split(',').map(str::to_owned).collect();
            is_strange(&header, &["id", "first_name"])
        };
        assert!(is_strange("1,Ada") && is_strange("Nr,Name"));
        assert!(!is_strange("ID,x") && !is_strange("x,First Name"));
    }

    #[test]
    fn names_decide_and_places_only_where_no_name_contradicts() {
        for (header, declared, wanted) in [
            ("id,name", "id,name", "id,name"),
            ("name,id", "id,name", "name,id"),
            ("ID,Name", "id,name", "id,name"),
            ("Id,First Name", "id,first_name", "id,first_name"),
            ("Nr,Ort", "id,city", "id,city"),
        ] {
            assert_eq!(
                names(header, declared),
                Ok(wanted.to_owned()),
                "{header} for {declared}"
            );
        }
        for (header, declared, words) in [
            ("name,nr", "id,name", &["lacks `id`", "`nr`"][..]),
            ("nmae,city", "city,name", &["lacks `name`", "`nmae`"]),
            ("city,nmae", "city,name", &["lacks `name`", "`nmae`"]),
            ("Name,ID", "id,name", &["`ID` for `id`", "`Name` for `name`"]),
            ("id,name,zz", "id,name", &["`zz`"]),
            ("id", "id,name", &["lacks `name`"]),
            ("x,y,z", "id,name", &["lacks `id`, `name`", "`x`, `y`, `z`"]),
        ] {
            let error = names(header, declared).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{header} for {declared}: {error}");
            }
        }
    }
}
