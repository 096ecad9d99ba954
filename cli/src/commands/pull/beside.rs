//! Histories that went apart: what is said of them, what is lost where one takes the place of the other, and a copy of the
//! other one beside the dataset.

use odf::catalog::CatalogError;
use odf::dataset::{Dataset, DatasetName};
use odf::metadata::Multihash;
use odf::receive::{ReceiveError, Source};

use crate::commands::transfer::Watch;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Two histories of one dataset.
pub(super) struct Apart {
    /// The one that is here.
    dataset: Dataset,
    /// How many blocks both have.
    common: u64,
    /// How many only the one here has.
    ours: u64,
    /// How many only the other has.
    theirs: u64,
}

impl Apart {
    /// What a pull was refused for, if it is that; else the error.
    pub(super) fn of(error: ReceiveError, session: &Session) -> Result<(Self, ReceiveError), ReceiveError> {
        let ReceiveError::Diverged {
            local,
            common,
            ours,
            theirs,
            ..
        } = &error
        else {
            return Err(error);
        };
        match at_head(local, session) {
            Some(dataset) => Ok((
                Self {
                    dataset,
                    common: *common,
                    ours: *ours,
                    theirs: *theirs,
                },
                error,
            )),
            None => Err(error),
        }
    }

    /// One that has all blocks of the other, and so many more.
    pub(super) fn ahead(dataset: &Dataset, by: u64) -> Self {
        Self {
            common: dataset.state().blocks().saturating_sub(by),
            dataset: dataset.clone(),
            ours: by,
            theirs: 0,
        }
    }

    /// Whether this is the name of the one here.
    pub(super) fn is_of(&self, name: &DatasetName) -> Result<bool, Failure> {
        Ok(self.dataset.name()? == *name)
    }

    /// Says what goes when the other history takes the place of this one, and asks.
    ///
    /// # Errors
    /// The answer is no, or there is nobody to ask and `--yes` was not said.
    pub(super) fn agree(&self, place: &str, io: &mut Io) -> Result<(), Failure> {
        let (name, lost) = (self.dataset.name()?, self.lost()?);
        if !io.terminal().input && !io.assumes_yes() {
            return Err(Failure::new(
                Kind::Refused,
                format!("{lost} of {name} would be dropped, for {place} lacks them, and there is no terminal to ask at"),
            )
            .next(format!(
                "`odfs pull {place} --force --yes` drops them; `odfs pull {place} --rebase` puts them behind what is there"
            )));
        }
        io.say(format_args!("{name} becomes what {place} has: {lost} are dropped"));
        io.confirm(&format!("Drop {lost} of {name}?"))
    }

    /// Why nothing was done, with the ways on. `address` is what was pulled.
    pub(super) fn refusal(&self, error: &ReceiveError, address: &str, session: &Session) -> Result<Failure, Failure> {
        let name = self.dataset.name()?;
        let wanted = format!("{name}-there").parse().unwrap_or_else(|_| name.clone());
        let copy = session.workspace()?.catalog().free_name(&wanted)?;
        Ok(Failure::new(Kind::Refused, error).next(format!(
            "look at that history beside this one with `odfs pull {address} --as {copy}`; `odfs pull {address} --rebase` puts \
             what was done here behind it; `odfs pull {address} --force` takes it, and drops {} that only this one has",
            self.lost()?
        )))
    }

    /// What both have in common and what to look at, once there is a copy.
    fn tell(&self, copy: &DatasetName, io: &mut Io) -> Result<(), Failure> {
        let name = self.dataset.name()?;
        io.say(format_args!(
            "{name} was not changed: its history and that one have {} block(s) in common, {} only here and {} only there",
            output::count(self.common),
            output::count(self.ours),
            output::count(self.theirs)
        ));
        if let Some(last) = self.common.checked_sub(1) {
            io.say(format_args!(
                "What each did since: `odfs diff {name} {last}` and `odfs diff {copy} {last}`"
            ));
        }
        Ok(())
    }

    /// The blocks that only this history has, with their rows and times, in words.
    pub(super) fn lost(&self) -> Result<String, Failure> {
        let (mut rows, mut times) = (0_u64, None);
        let blocks = self.dataset.blocks()?.rev();
        for stored in blocks.take(usize::try_from(self.ours).unwrap_or(usize::MAX)) {
            let block = stored?.block.into_block();
            if let Some(slice) = block.event.new_data() {
                rows += slice.offset_interval.end.saturating_sub(slice.offset_interval.start) + 1;
            }
            let (_, last) = times.unwrap_or((block.system_time, block.system_time));
            times = Some((block.system_time, last));
        }
        let when = times.map_or_else(String::new, |(first, last)| {
            let [first, last] = [first, last].map(|at| output::time(at.datetime()));
            match first == last {
                true => format!(" of {first}"),
                false => format!(" of {first} to {last}"),
            }
        });
        Ok(format!(
            "{} block(s) with {} row(s){when}",
            output::count(self.ours),
            output::count(rows)
        ))
    }
}

/// The dataset whose newest block is this one.
fn at_head(head: &Multihash, session: &Session) -> Option<Dataset> {
    let catalog = session.workspace().ok()?.catalog();
    let entries = catalog.entries().ok()?;
    let entry = entries.iter().find(|entry| entry.head.as_ref() == Some(head))?;
    catalog.open_entry(entry).ok()
}

/// Whether a pull under this name is one of a copy that is there.
pub(super) fn is_copy(name: Option<&DatasetName>, session: &Session) -> Result<bool, Failure> {
    let workspace = session.workspace()?;
    let Some(name) = name else { return Ok(false) };
    Ok(workspace.copies().holds(name) && workspace.catalog().called(name)?.is_empty())
}

/// Brings a history here as a copy beside the dataset; whether anything was new.
pub(super) fn take(
    name: &DatasetName,
    source: &dyn Source,
    address: &str,
    apart: Option<&Apart>,
    session: &Session,
    io: &mut Io,
) -> Result<bool, Failure> {
    let workspace = session.workspace()?;
    if let Some(entry) = workspace.catalog().called(name)?.pop() {
        let (name, id) = (name.to_string(), entry.id);
        return Err(CatalogError::NameTaken { name, id }.into());
    }
    let _hold = workspace.store().hold();
    let before = workspace.copies().find(name.as_str()).ok().flatten();
    let watch = Watch::new(io);
    let received = workspace.copies().take(name, source, address, &|at| watch.hear(at))?;
    let copy = received.dataset();
    let is_new = before.is_none_or(|before| before.head() != copy.head());
    io.line(format_args!(
        "{name} is a copy of what {address} has, to be looked at: {} row(s), up to {}",
        output::count(copy.state().totals.records),
        output::time(copy.state().system_time.datetime())
    ))?;
    if let Some(apart) = apart {
        apart.tell(name, io)?;
    }
    io.say(format_args!(
        "It is served to nobody, and takes no rows; `odfs delete {name}` removes it"
    ));
    Ok(is_new)
}
