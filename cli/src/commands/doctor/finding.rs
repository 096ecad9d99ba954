//! One thing that was looked at: what was found, and what to do.

use std::fmt;

use serde_json::Value;

use crate::failure::Failure;
use crate::output::Cell;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    /// It was not looked at, or nobody could tell.
    Skipped,
    /// It works, and not as well as it could.
    Warning,
    Failed,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// See the module's words. Made by the function of its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    check: &'static str,
    subject: Option<String>,
    pub(super) state: State,
    pub(super) found: String,
    pub(super) next: Option<String>,
}

impl Finding {
    fn new(state: State, check: &'static str, found: impl fmt::Display, next: Option<String>) -> Self {
        Self {
            check,
            subject: None,
            state,
            found: found.to_string(),
            next,
        }
    }

    pub(super) fn ok(check: &'static str, found: impl fmt::Display) -> Self {
        Self::new(State::Ok, check, found, None)
    }

    pub(super) fn skipped(check: &'static str, found: impl fmt::Display) -> Self {
        Self::new(State::Skipped, check, found, None)
    }

    pub(super) fn warning(check: &'static str, found: impl fmt::Display, next: impl fmt::Display) -> Self {
        Self::new(State::Warning, check, found, Some(next.to_string()))
    }

    pub(super) fn failed(check: &'static str, found: impl fmt::Display, next: impl fmt::Display) -> Self {
        Self::new(State::Failed, check, found, Some(next.to_string()))
    }

    /// What kept a check from being made is what it found.
    pub(super) fn from_failure(check: &'static str, failure: &Failure) -> Self {
        Self::new(
            State::Failed,
            check,
            failure.message(),
            failure.next_step().map(str::to_owned),
        )
    }

    /// Of which of several.
    #[must_use]
    pub(super) fn about(mut self, subject: impl fmt::Display) -> Self {
        self.subject = Some(subject.to_string());
        self
    }

    /// What is wrong does no harm as others are well.
    #[must_use]
    pub(super) fn harmless(mut self) -> Self {
        if self.state == State::Failed {
            self.state = State::Warning;
        }
        self
    }

    pub(super) fn is_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// For a listing: check, subject, state, what was found, what to do.
    pub(super) fn cells(&self) -> [Cell; 5] {
        let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String).into();
        [
            self.check.into(),
            text(&self.subject),
            self.state.word().into(),
            self.found.clone().into(),
            text(&self.next),
        ]
    }
}

/// For people: a line, and one for the next step.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {}", self.state.word(), self.check)?;
        if let Some(subject) = &self.subject {
            write!(f, " {subject}")?;
        }
        write!(f, ": {}", self.found)?;
        match &self.next {
            Some(next) => write!(f, "\n         Next: {next}"),
            None => Ok(()),
        }
    }
}
