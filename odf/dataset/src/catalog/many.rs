//! Many datasets looked at one after the other.

use std::num::NonZero;
use std::thread;

use odf_metadata::DatasetId;

/// How many datasets a thread looks at at least: starting it takes as long as looking at a few.
const MIN_SHARE: usize = 64;

/// Looks at datasets on all cores; what is found of them is in their order.
pub(super) fn look_at_each<T: Send>(ids: &[DatasetId], look: &(dyn Fn(DatasetId) -> Option<T> + Sync)) -> Vec<T> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = ids.len().div_ceil(cores).max(MIN_SHARE);
    let look_at = |ids: &[DatasetId]| ids.iter().filter_map(|id| look(*id)).collect::<Vec<T>>();
    thread::scope(|scope| {
        let mut shares = ids.chunks(share);
        let first = shares.next().unwrap_or_default();
        let others: Vec<_> = shares
            .map(|ids| {
                let thread = thread::Builder::new().spawn_scoped(scope, move || look_at(ids));
                (ids, thread)
            })
            .collect();
        let mut found = look_at(first);
        for (ids, thread) in others {
            // Without threads left it only takes longer.
            found.extend(match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => look_at(ids),
            });
        }
        found
    })
}
