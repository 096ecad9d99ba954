//! How fast a file or a directory gets into a store, durably, and how long the store then takes to open.
//!
//! ```text
//! cargo run --release -p odf-node --example import_throughput -- PATH [WORKSPACE] [unixfs-v1-2025|kubo-cidv1]
//! ```
//!
//! The workspace is made, and must not exist yet; without one it is a directory of its own beside `PATH`.

#![allow(clippy::print_stdout)]

use std::{error::Error, fs, path::PathBuf, time::Instant};

use odf_node::{
    add::{AddOptions, add_path},
    store::{Blocks as _, Store, StoreOptions},
    unixfs::{KUBO_CIDV1, UNIXFS_V1_2025},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("what to add?")?);
    let root = arguments
        .next()
        .map_or_else(|| path.with_extension("store"), PathBuf::from);
    let profile = match arguments.next() {
        Some(name) if name == KUBO_CIDV1.name => KUBO_CIDV1,
        _ => UNIXFS_V1_2025,
    };
    if root.exists() {
        return Err(format!("{} is there already", root.display()).into());
    }

    let begun = Instant::now();
    let store = Store::open(&root, StoreOptions::default())?;
    let opened = begun.elapsed();
    let hold = store.hold();
    let added = add_path(&store, &path, &AddOptions::new(profile))?;
    let read = begun.elapsed();
    store.pin("import", &added.entry.cid)?;
    store.flush()?;
    drop(hold);
    let durable = begun.elapsed();
    let rate = added.bytes as f64 / durable.as_secs_f64() / f64::from(1 << 20);
    println!("{}", added.entry.cid);
    println!(
        "{} files, {} bytes: opened after {opened:.2?}, written after {read:.2?}, durable after {durable:.2?}, {rate:.0} MiB/s",
        added.files, added.bytes
    );
    println!("{:?}", store.stats()?);
    drop(store);

    let begun = Instant::now();
    let store = Store::open(&root, StoreOptions::default())?;
    let there = store.has(&added.entry.cid)?;
    println!(
        "opened again in {:.2?}, the root is {}",
        begun.elapsed(),
        if there { "there" } else { "LOST" }
    );
    drop(store);
    fs::remove_dir_all(&root)?;
    Ok(())
}
