//! Cases that nobody here chose, run by the reference implementation and by odfs: equal, or for a reason that is written
//! down in `reference/differential/odfs.differs`.

use interop_tests::differential::{Case, Difference, cases, explained, site};
use interop_tests::peers::note;
use interop_tests::{Failure, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Names of the cases to run, with commas between; without it all are.
const ODFS_CASES: &str = "ODFS_CASES";
/// How many cases run at a time, beside those that are polled.
const AT_A_TIME: usize = 3;
/// Most cases that may differ for a reason: with every further one, a dataset that both write is less likely to stay one.
const MAX_EXPLAINED: usize = 14;

type Results = BTreeMap<String, Outcome<Vec<Difference>>>;

#[test]
fn datasets_and_exits_are_those_of_the_reference_implementation() -> Outcome {
    let (mut cases, explained) = (cases()?, explained()?);
    let names: BTreeSet<String> = cases.iter().map(|case| case.name.clone()).collect();
    let mut faults = Vec::new();
    for name in explained.keys().map(String::as_str) {
        if !names.contains(name) {
            faults.push(format!("{name}: there is no such case"));
        }
    }
    if explained.len() > MAX_EXPLAINED {
        faults.push(format!(
            "{} cases differ for a reason, {MAX_EXPLAINED} may",
            explained.len()
        ));
    }

    if let Ok(wanted) = std::env::var(ODFS_CASES) {
        cases.retain(|case| wanted.split(',').any(|name| name == case.name));
    }
    let (mut equal, mut differing) = (0, 0);
    for (name, found) in replay_all(&cases)? {
        let found = found.map_err(|failure| failure.during(&name))?;
        let shown = || {
            found
                .iter()
                .map(|difference| format!("\n    {difference}"))
                .collect::<String>()
        };
        match (found.is_empty(), explained.get(&name)) {
            (true, Some(_)) => faults.push(format!("{name}: is equal; take it out of odfs.differs")),
            (true, None) => equal += 1,
            (false, Some(explained)) => {
                let datasets: BTreeSet<String> = found.iter().map(|difference| difference.dataset.clone()).collect();
                differing += 1;
                if datasets != explained.datasets {
                    let wanted = explained
                        .datasets
                        .iter()
                        .map(String::as_str)
                        .collect::<Vec<_>>()
                        .join(" ");
                    faults.push(format!(
                        "{name}: odfs.differs names [{wanted}]; what differs is{}",
                        shown()
                    ));
                }
            }
            (false, None) => faults.push(format!("{name}: differs{}", shown())),
        }
    }
    note(&format!(
        "of {} cases of the reference implementation {equal} are equal, {differing} differ for a reason",
        cases.len(),
    ));
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(faults.join("\n"))),
    }
}

/// Runs all cases, those that share the site one after the other.
fn replay_all(cases: &[Case]) -> Outcome<Results> {
    let (polled, others): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.is_polled());
    let site = if polled.is_empty() { None } else { Some(site()?) };
    let results = Mutex::new(Results::new());
    let keep = |case: &Case, result| {
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        results.insert(case.name.clone(), result);
    };
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for case in &polled {
                keep(case, case.replay(site.as_ref()));
            }
        });
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = others.get(next.fetch_add(1, Ordering::Relaxed)) {
                    keep(case, case.replay(None));
                }
            });
        }
    });
    Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner))
}
