//! One line that shows how far a command is, drawn only where a person watches.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::printable::printable;

/// The shortest time between two drawings, so that a fast loop may report each step.
const REDRAW_EVERY: Duration = Duration::from_millis(80);

/// How far a command is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// What is being done, with its figures, in words.
    pub(crate) text: String,
    /// How much is done, in the unit of `total`.
    pub(crate) done: u64,
    /// How much there is, when known.
    pub(crate) total: Option<u64>,
}

/// Something that can show a [`Step`].
pub(crate) trait Draw: Send {
    /// Shows `step` in the place of the one before.
    fn draw(&mut self, step: &Step);
    /// Takes the line away.
    fn clear(&mut self);
}

/// A cheap handle to the progress line of one command.
#[derive(Clone)]
pub(crate) struct Progress(Option<Arc<Mutex<Line>>>);

struct Line {
    draw: Box<dyn Draw>,
    last: Option<Instant>,
}

impl Progress {
    /// Shows nothing: nobody watches.
    pub(crate) fn quiet() -> Self {
        Self(None)
    }

    /// Draws on standard error of this process.
    pub(crate) fn on_terminal() -> Self {
        Self::through(Box::new(Bar { bar: None }))
    }

    /// Draws through something else.
    pub(crate) fn through(draw: Box<dyn Draw>) -> Self {
        Self(Some(Arc::new(Mutex::new(Line { draw, last: None }))))
    }

    /// Whether anybody watches: a reason to compute figures.
    pub(crate) fn is_watched(&self) -> bool {
        self.0.is_some()
    }

    /// Shows how far the command is, at most twelve times a second.
    pub(crate) fn show(&self, step: impl FnOnce() -> Step) {
        let Some(line) = &self.0 else { return };
        let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.last.is_some_and(|last| last.elapsed() < REDRAW_EVERY) {
            return;
        }
        line.last = Some(Instant::now());
        let mut step = step();
        step.text = printable(&step.text).into_owned();
        line.draw.draw(&step);
    }

    /// Takes the line away, so that other text can be written.
    pub(crate) fn clear(&self) {
        let Some(line) = &self.0 else { return };
        let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.last.take().is_some() {
            line.draw.clear();
        }
    }
}

/// A bar on standard error.
struct Bar {
    bar: Option<(ProgressBar, bool)>,
}

impl Draw for Bar {
    fn draw(&mut self, step: &Step) {
        let counted = step.total.is_some();
        if self.bar.as_ref().is_some_and(|(_, had_total)| *had_total != counted) {
            self.clear();
        }
        let (bar, _) = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(step.total, ProgressDrawTarget::stderr());
            let template = if counted {
                "{wide_bar} {percent:>3}%  {msg}"
            } else {
                "{spinner} {wide_msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            (bar, counted)
        });
        if let Some(total) = step.total {
            bar.update(|state| {
                state.set_len(total);
                state.set_pos(step.done.min(total));
            });
        }
        bar.set_message(step.text.clone());
    }

    fn clear(&mut self) {
        if let Some((bar, _)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(Arc<Mutex<(usize, usize)>>);

    impl Draw for Count {
        fn draw(&mut self, _: &Step) {
            self.0.lock().unwrap().0 += 1;
        }
        fn clear(&mut self) {
            self.0.lock().unwrap().1 += 1;
        }
    }

    #[test]
    fn a_fast_loop_draws_rarely_and_clears_once() {
        let seen = Arc::new(Mutex::new((0, 0)));
        let progress = Progress::through(Box::new(Count(seen.clone())));
        for done in 0..10_000 {
            progress.show(|| Step {
                done,
                ..Step::default()
            });
        }
        progress.clear();
        progress.clear();
        let (drawn, cleared) = *seen.lock().unwrap();
        assert!((1..100).contains(&drawn), "{drawn}");
        assert_eq!(cleared, 1);
    }
}
