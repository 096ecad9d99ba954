//! Bootstrap peers out of a dataset: whoever keeps a list of them publishes it like any other table, and others follow it.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use odf::dataset::Dataset;
use odf::metadata::OperationType;
use odf::pull::{Address, id_of};
use odf::workspace::Workspace;
use odf_node::{Multiaddr, PeerId};

/// The column with the addresses.
const COLUMN: &str = "address";
/// Rows that are looked at, the newest of the dataset.
const MAX_ROWS: u64 = 1000;
/// Addresses that are taken, of the newest rows.
const MAX_ADDRESSES: usize = 64;
/// The longest address, in bytes.
const MAX_ADDRESS_BYTES: usize = 256;

/// The addresses in the newest rows of the dataset called `text`, the newest first. What cannot be read is said in the log: that a
/// list is not here is no reason for a command to fail.
pub(super) fn peers_of(workspace: &Workspace, text: &str) -> Vec<Multiaddr> {
    let read = find(workspace, text).and_then(|dataset| rows(&dataset));
    match read {
        Ok(rows) => addresses(rows),
        Err(reason) => {
            tracing::warn!(dataset = text, reason, "network.bootstrapDataset gives no addresses");
            Vec::new()
        }
    }
}

/// A dataset by its name or id here, or by the address that it was pulled from.
fn find(workspace: &Workspace, text: &str) -> Result<Dataset, String> {
    let catalog = workspace.catalog();
    let found = catalog.find(text);
    let Ok(address) = text.parse::<Address>() else {
        return found.map_err(|error| error.to_string());
    };
    if let Ok(dataset) = found {
        return Ok(dataset);
    }
    let id = address.dataset_id().or_else(|| id_of(address.name()?));
    if let Some(id) = id
        && let Some(dataset) = catalog.by_id(&id).map_err(|error| error.to_string())?
    {
        return Ok(dataset);
    }
    for entry in catalog.entries().map_err(|error| error.to_string())? {
        let aliases = odf::dataset::RemoteAliases::in_directory(&entry.dir).unwrap_or_default();
        if aliases.pull_aliases.contains(&address.to_string()) {
            return catalog.find(&entry.id.to_string()).map_err(|error| error.to_string());
        }
    }
    Err(format!("it is not here; `odfs pull {address}` brings it here"))
}

/// What the newest rows say, oldest first: an address, and whether it holds from then on.
fn rows(dataset: &Dataset) -> Result<Vec<(Option<String>, bool)>, String> {
    let newest = dataset.newest(MAX_ROWS, 0).map_err(|error| error.to_string())?;
    let operation = dataset.state().vocabulary().operation_type_column;
    let mut said = Vec::new();
    for batch in newest.into_iter().flatten() {
        let batch = batch.map_err(|error| error.to_string())?;
        let column = batch.column_by_name(COLUMN);
        let column = column.ok_or_else(|| format!("it has no column `{COLUMN}`"))?;
        let column = cast(column, &DataType::Utf8).map_err(|error| error.to_string())?;
        let operations = batch.column_by_name(&operation);
        let operations = operations.and_then(|column| column.as_primitive_opt::<Int32Type>());
        for (row, text) in column.as_string::<i32>().iter().enumerate() {
            let operation = operations.map(|column| column.value(row));
            let gone = [OperationType::Retract as i32, OperationType::CorrectFrom as i32];
            let holds = operation.is_none_or(|operation| !gone.contains(&operation));
            said.push((text.map(str::to_owned), holds));
        }
    }
    Ok(said)
}

fn addresses(rows: Vec<(Option<String>, bool)>) -> Vec<Multiaddr> {
    let mut addresses: Vec<Multiaddr> = Vec::new();
    for (text, holds) in rows {
        let text = text.unwrap_or_default();
        match address(&text) {
            Some(address) => {
                addresses.retain(|other| *other != address);
                if holds {
                    addresses.push(address);
                }
            }
            None => {
                let shown: String = text.chars().take(MAX_ADDRESS_BYTES).collect();
                tracing::warn!(
                    address = shown,
                    "a row of network.bootstrapDataset is left out: it is no address of a peer that ends in /p2p/ID"
                );
            }
        }
    }
    addresses.reverse();
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

/// An address that says which peer is there.
fn address(text: &str) -> Option<Multiaddr> {
    let text = text.trim();
    let (_, peer) = text.rsplit_once("/p2p/")?;
    peer.parse::<PeerId>().ok()?;
    (text.len() <= MAX_ADDRESS_BYTES).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: usize) -> String {
        format!("/ip4/192.0.2.{n}/tcp/4001/p2p/12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8")
    }

    #[test]
    fn the_newest_rows_that_hold_count_and_bad_ones_are_left_out() {
        let long = format!("/dns4/{}/tcp/1/p2p/{}", "a".repeat(MAX_ADDRESS_BYTES), PeerId::random());
        let rows = [
            (Some(at(1)), true),
            (None, true),
            (Some("/ip4/192.0.2.1/tcp/4001".to_owned()), true),
            (Some("/ip4/192.0.2.1/tcp/4001/p2p/nobody".to_owned()), true),
            (Some(long), true),
            (Some(at(2)), true),
            (Some(at(1)), false),
            (Some(format!(" {} ", at(3))), true),
            (Some(at(2)), true),
        ];
        let found: Vec<String> = addresses(rows.to_vec()).iter().map(ToString::to_string).collect();
        assert_eq!(found, [at(2), at(3)]);
    }

    #[test]
    fn one_address_over_the_limit_is_not_taken() {
        let rows = (0..=MAX_ADDRESSES).map(|n| (Some(at(n)), true)).collect();
        let found = addresses(rows);
        assert_eq!(found.len(), MAX_ADDRESSES);
        assert!(!found.iter().any(|address| address.to_string() == at(0)), "the oldest");
    }
}
