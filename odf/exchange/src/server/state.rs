//! What all requests share: the workspace, its tokens, and the turns that requests take.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, Uri, header};
use odf_dataset::receive::Arrived;
use odf_dataset::{Dataset, DatasetError, DatasetName, Datasets};
use odf_metadata::DatasetId;
use tokio::sync::Semaphore;
use url::Url;

use super::answer::Refusal;
use super::blocks::Blocks;
use super::limits::{MAX_KEPT_DATASETS, MAX_KEPT_NAMES};
use super::pushes::PushLog;
use super::sender::{Sender, Way};
use super::tokens::{Tokens, Verb};
use super::turns::Turns;
use super::uploads::Uploads;

/// Told of each dataset that a push changed, when it is in place.
pub type OnArrived = dyn Fn(&Arrived) + Send + Sync;

/// How to serve a workspace.
#[derive(Clone, Default)]
pub struct Options {
    /// The address under which others reach this server, if a proxy is in between. Without it they are told the address
    /// that they used themselves.
    pub public_url: Option<Url>,
    /// Proxies whose word is taken for where a request comes from, and whether it was encrypted on the way to them.
    pub proxies: Vec<IpAddr>,
    /// Hears of everything that was pushed here, after it is safe.
    pub on_arrived: Option<Arc<OnArrived>>,
    /// The dataset whose own key an IPNS name is of: buckets have such names beside those of datasets.
    pub dataset_of_key: Option<fn(&str) -> Option<DatasetId>>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("public_url", &self.public_url)
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

/// What all requests share.
pub(super) struct Server {
    pub(super) datasets: Datasets,
    pub(super) tokens: Tokens,
    pub(super) pushes: PushLog,
    pub(super) options: Options,
    pub(super) blocks: Blocks,
    pub(super) uploads: Uploads,
    pub(super) requests: Turns,
    pub(super) transfers: Turns,
    /// Bytes of memory that the bundles of pulls may take up.
    pub(super) bundles: Arc<Semaphore>,
    pub(super) names: Mutex<KeptNames>,
    pub(super) opened: Mutex<Opened>,
}

/// Names in lowercase to the datasets that had them when last looked, [`MAX_KEPT_NAMES`] at most.
#[derive(Default)]
pub(super) struct KeptNames(HashMap<String, DatasetId>);

impl KeptNames {
    fn get(&self, name: &str) -> Option<DatasetId> {
        self.0.get(name).copied()
    }

    /// Keeps one more; where there is no room all others are forgotten.
    fn keep(&mut self, name: String, id: DatasetId) {
        if self.0.len() >= MAX_KEPT_NAMES {
            self.0.clear();
        }
        self.0.insert(name, id);
    }
}

/// Datasets that were opened before, [`MAX_KEPT_DATASETS`] at most: what a chain amounts to need not be read for each block.
#[derive(Default)]
pub(super) struct Opened(HashMap<DatasetId, Arc<Dataset>>);

impl Opened {
    /// Keeps one more; where there is no room all others are forgotten.
    fn keep(&mut self, dataset: &Dataset) {
        if self.0.len() >= MAX_KEPT_DATASETS && !self.0.contains_key(&dataset.id()) {
            self.0.clear();
        }
        self.0.insert(dataset.id(), Arc::new(dataset.clone()));
    }
}

impl Server {
    /// The dataset of this id, at its head.
    pub(super) fn by_id(&self, id: &DatasetId) -> Result<Option<Dataset>, DatasetError> {
        let known = self.opened().0.get(id).cloned();
        if let Some(known) = known.filter(|known| known.is_at_head()) {
            return Ok(Some((*known).clone()));
        }
        let found = self.datasets.catalog().by_id(id)?;
        match &found {
            Some(dataset) => self.opened().keep(dataset),
            None => drop(self.opened().0.remove(id)),
        }
        Ok(found)
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dataset of this name.
    pub(super) fn find(&self, name: &DatasetName) -> Result<Option<Dataset>, Refusal> {
        let key = name.as_str().to_ascii_lowercase();
        let kept = self.names().get(&key);
        let catalog = self.datasets.catalog();
        if let Some(id) = kept
            && let Some(dataset) = self.by_id(&id)?
            && dataset.name()? == *name
        {
            return Ok(Some(dataset));
        }
        let Some(entry) = catalog.called(name)?.into_iter().next() else {
            return Ok(None);
        };
        self.names().keep(key, entry.id);
        Ok(Some(catalog.open_entry(&entry)?))
    }

    /// The dataset of this name, if `sender` may read it. Whoever may not is told what is told where there is none.
    pub(super) fn readable(&self, name: &DatasetName, sender: &Sender) -> Result<Dataset, Refusal> {
        let found = self.find(name)?;
        found.filter(|dataset| Self::may_read(dataset, name, sender)).ok_or_else(|| {
            Refusal::not_found(format!(
                "there is no dataset {name} that you may read; its owner can share one with `odfs share`, or give you a \
                 token that may pull it"
            ))
        })
    }

    pub(super) fn may_read(dataset: &Dataset, name: &DatasetName, sender: &Sender) -> bool {
        sender.may(Verb::Pull, name).is_ok() || dataset.is_shared()
    }

    fn names(&self) -> MutexGuard<'_, KeptNames> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of the dataset, as the sender of a request for something directly below it reaches it; ends in `/`.
    pub(super) fn dataset_url(&self, uri: &Uri, headers: &HeaderMap, way: &Way) -> Result<Url, Refusal> {
        let base = match &self.options.public_url {
            Some(url) => url.clone(),
            None => {
                let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
                let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
                host.and_then(|host| own_address(host, way.secure))
                    .ok_or_else(|| Refusal::bad_request("the Host header is missing or is no address"))?
            }
        };
        let (dataset, _) = uri.path().rsplit_once('/').unwrap_or_default();
        let relative = format!("{}/", dataset.trim_start_matches('/'));
        base.join(&relative)
            .map_err(|_| Refusal::bad_request("the path is no address"))
    }
}

/// `http://host:port/`, or the same with `https`, if that is all that is in `host`.
pub(super) fn own_address(host: &str, secure: bool) -> Option<Url> {
    let scheme = if secure { "https" } else { "http" };
    let url = Url::parse(&format!("{scheme}://{host}/")).ok()?;
    let only = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    (only && url.password().is_none() && url.has_host()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smart::sample;
    use odf_dataset::RemoteAliases;
    use odf_dataset::receive::Arrival;

    #[test]
    fn one_name_too_many_makes_room() {
        let id = DatasetId::from_public_key([7; 32]);
        let mut names = KeptNames::default();
        for n in 0..MAX_KEPT_NAMES {
            names.keep(n.to_string(), id);
        }
        assert_eq!(names.0.len(), MAX_KEPT_NAMES);
        assert_eq!(names.get("0"), Some(id));
        names.keep("one more".to_owned(), id);
        assert_eq!(names.0.len(), 1);
        assert_eq!((names.get("0"), names.get("one more")), (None, Some(id)));
    }

    #[test]
    fn one_opened_dataset_too_many_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let datasets = crate::datasets_in(dir.path());
        let mut opened = Opened::default();
        for n in 0..=MAX_KEPT_DATASETS {
            let id = sample::id(u8::try_from(n).unwrap());
            let name = format!("d{n}").parse().unwrap();
            let arrival = Arrival::begin(&datasets, id, &name, RemoteAliases::default()).unwrap();
            let dataset = arrival.commit(sample::chain(id, 1, 1, ""), false).unwrap().dataset;
            opened.keep(&dataset);
            opened.keep(&dataset);
            assert_eq!(opened.0.len(), if n == MAX_KEPT_DATASETS { 1 } else { n + 1 });
        }
    }
}
