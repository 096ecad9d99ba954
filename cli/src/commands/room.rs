//! Room in a store that has a limit: made before a command that stores much, after it, and by a node as it goes.

use std::time::Duration;

use odf::room::Room;
use tokio::time::Instant;

use super::batch::blocking;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// How often a node looks whether there is room.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When nothing more can go, it is looked for again after so long, or when something changed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Makes room for what a command is about to store.
///
/// # Errors
/// The store holds as much as it may, and nothing of it can go.
pub(super) fn before(session: &Session) -> Result<(), Failure> {
    if session.settings().store_max.is_none() {
        return Ok(());
    }
    make(session)?;
    let store = session.workspace()?.store();
    let Err(error) = store.check_room_for(1) else {
        return Ok(());
    };
    let survey = store.survey()?;
    let failure = Failure::from(error);
    let held = format!(
        "the store holds {} of the {} that it may (store.max): {} are kept by pins and versions of datasets, {} are files of datasets, \
         {} are the index, and {} may go when nobody is at work",
        output::bytes(survey.held_bytes),
        output::bytes(survey.max_bytes.unwrap_or_default()),
        output::bytes(survey.pinned_bytes),
        output::bytes(survey.file_bytes),
        output::bytes(survey.index_bytes),
        output::bytes(survey.passing_bytes)
    );
    Err(Failure::new(failure.kind(), held).next(failure.next_step().unwrap_or_default()))
}

/// Makes room after a command that ran by itself. What cannot be done now is done by the next.
pub(crate) fn after(session: &Session) {
    let is_limited = session
        .open_workspace()
        .is_some_and(|workspace| workspace.store().max_bytes().is_some());
    if is_limited && let Err(failure) = make(session) {
        tracing::warn!(reason = failure.message(), "no room was made in the store");
    }
}

/// Makes room for as long as the node runs. Never ends.
pub(super) async fn keep(session: &Session) {
    let Ok(workspace) = session.workspace() else {
        return std::future::pending().await;
    };
    let store = workspace.store();
    if store.max_bytes().is_none() {
        return std::future::pending().await;
    }
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let mut given_up: Option<(Instant, u64, u64)> = None;
    loop {
        tick.tick().await;
        let now = (store.held_bytes(), store.pins_trail());
        let is_same = |(at, held, trail): &(Instant, u64, u64)| {
            at.elapsed() < LOOK_AGAIN && now.0 <= held.saturating_add(held / 100) && now.1 == *trail
        };
        if given_up.as_ref().is_some_and(is_same) {
            continue;
        }
        let own = session.for_background();
        match blocking(move || own.make_room()).await {
            Ok(made) => {
                let is_enough = made.as_ref().is_none_or(|room| room.is_enough);
                given_up = (!is_enough).then(|| (Instant::now(), store.held_bytes(), store.pins_trail()));
                if let Some(room) = made {
                    tell(&room);
                    let withdrawn = room.given_up.withdraw(workspace.local(), session.running_node()).await;
                    if let Err(error) = withdrawn {
                        tracing::warn!(%error, "older versions that went are still announced");
                    }
                }
            }
            Err(failure) => {
                tracing::warn!(reason = failure.message(), "no room was made in the store");
                given_up = Some((Instant::now(), now.0, now.1));
            }
        }
    }
}

fn make(session: &Session) -> Result<(), Failure> {
    let Some(room) = session.make_room()? else {
        return Ok(());
    };
    tell(&room);
    let withdrawn = room
        .given_up
        .withdraw(session.workspace()?.local(), session.running_node());
    Ok(session.runtime()?.block_on(withdrawn)?)
}

fn tell(room: &Room) {
    tracing::info!(
        removed = room.removed_bytes,
        freed = room.freed_bytes,
        versions = room.given_up.roots,
        enough = room.is_enough,
        "room made in the store"
    );
}
