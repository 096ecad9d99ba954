//! The environment variables of whoever typed a command, who may be in another process than the one that runs it.

use std::ffi::{OsStr, OsString};

use crate::failure::Failure;

/// The variable that holds settings.
const SETTINGS: &str = "ODFS_CONFIG";

/// The environment variables of one process, as they were when it started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Those that another process sent.
    pub(crate) fn of_sender(variables: Vec<(OsString, OsString)>) -> Self {
        Self(variables)
    }

    /// All of them, for commands that are started.
    pub(crate) fn all(&self) -> &[(OsString, OsString)] {
        &self.0
    }

    fn get(&self, name: &str) -> Option<&OsStr> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_os_str())
    }

    /// The value of a variable, if it is set and text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.to_str().map(str::to_owned)
    }

    /// The HTTP proxy that it names.
    pub(crate) fn proxy(&self) -> Option<ureq::Proxy> {
        odf::poll::proxy_of(&self.0)
    }

    /// `$ODFS_CONFIG`.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub(crate) fn settings(&self) -> Result<Option<String>, Failure> {
        match self.get(SETTINGS).map(OsStr::to_str) {
            None => Ok(None),
            Some(Some(text)) => Ok(Some(text.to_owned())),
            Some(None) => Err(Failure::usage(format!("{SETTINGS} is not UTF-8"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn values_that_are_no_text_have_no_value_and_settings_say_so() {
        let odd = OsString::from_vec(vec![0xff]);
        let environment = Environment::of_sender(vec![
            ("A".into(), "1".into()),
            ("B".into(), odd.clone()),
            (SETTINGS.into(), odd),
        ]);
        assert_eq!(environment.text("A").as_deref(), Some("1"));
        assert_eq!((environment.text("B"), environment.text("C")), (None, None));
        assert!(environment.settings().is_err());
        assert_eq!(Environment::default().settings().unwrap(), None);
    }
}
