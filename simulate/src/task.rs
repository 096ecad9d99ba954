//! What is to be simulated.

use std::iter::Peekable;

/// What is to be simulated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task {
    /// The first seed, and how many follow it.
    pub(crate) seed: u64,
    pub(crate) seeds: u64,
    pub(crate) days: u64,
    /// Disks take nothing for durable. The simulation must find that: it says whether it can find anything.
    pub(crate) forgets_syncs: bool,
    pub(crate) is_told: bool,
}

impl Task {
    /// What the words of the command line ask for; nothing if they cannot be read.
    pub(crate) fn read(words: impl Iterator<Item = String>) -> Option<Self> {
        let mut task = Task {
            seed: 1,
            seeds: 1,
            days: 30,
            forgets_syncs: false,
            is_told: false,
        };
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let number = match word.as_str() {
                "--seed" => &mut task.seed,
                "--seeds" => &mut task.seeds,
                "--days" => &mut task.days,
                "--forget-syncs" => {
                    task.forgets_syncs = yes(&mut words);
                    continue;
                }
                "-v" => {
                    task.is_told = yes(&mut words);
                    continue;
                }
                _ => return None,
            };
            *number = words.next()?.parse().ok()?;
        }
        Some(task)
    }
}

/// Whether a word that needs no other is meant; the processes of the seeds are told so either way, in words of one length.
fn yes(words: &mut Peekable<impl Iterator<Item = String>>) -> bool {
    let said = words.next_if(|word| matches!(word.as_str(), "yes" | "no "));
    said.is_none_or(|word| word == "yes")
}
