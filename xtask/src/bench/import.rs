//! Adding one file to the store.

use super::row::{Beside, Figure, Row, Scale, fastest};
use crate::Failure;
use interop_tests::process::run;
use interop_tests::{Kubo, Workspace, content};
use std::time::Duration;

/// How long one import may take.
const LIMIT: Duration = Duration::from_secs(600);
/// Reading and writing gigabytes twice is enough.
const REPEATS: u32 = 2;

/// The file is in the page cache for both sides; every run starts from an empty store.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let place = Workspace::new()?;
    let file = place.path().join("file");
    content::write(&file, scale.size, 1)?;
    std::io::copy(&mut std::fs::File::open(&file)?, &mut std::io::sink())?;

    let mut cids = (String::new(), String::new());
    let odfs = fastest(REPEATS, || {
        let workspace = Workspace::new()?;
        let mut command = workspace.command(["ipfs", "add", "-Q", "--cid-version", "1", "--raw-leaves"])?;
        command.arg(&file);
        let finished = run(command, LIMIT)?.success()?;
        cids.0 = finished.text();
        Ok(finished.took)
    })?;
    let kubo = fastest(REPEATS, || {
        let kubo = Kubo::init()?.ok_or("Kubo is required")?;
        let mut command = kubo.command(["add", "-Q", "--cid-version", "1", "--raw-leaves"]);
        command.arg(&file);
        let finished = run(command, LIMIT)?.success()?;
        cids.1 = finished.text();
        Ok(finished.took)
    })?;
    if cids.0 != cids.1 {
        return Err(format!("odfs says {} where Kubo says {}", cids.0, cids.1).into());
    }
    let what = format!("import {} (CIDv1, raw leaves)", size(scale.size));
    Ok(vec![Row {
        what,
        odfs,
        beside: Beside::kubo(kubo),
        wanted: "ratio of 1.5 at least",
        more: String::new(),
    }])
}

/// A size in the largest unit that keeps it at least 1.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        ..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", Figure::Memory(bytes).value() / f64::from(1 << 30)),
    }
}
