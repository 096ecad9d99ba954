//! `odfs audit`: whether the holder of a key signed histories that do not go together, with the proof.

use std::path::{Path, PathBuf};

use clap::Args;
use odf::disk::{Access, read_small_text};
use odf::proof::{self, MAX_PROOF_BYTES, Proof, ProofError, Relation, Verdict};
use odf_node::fetch::Fetcher;
use odf_node::ipns::{Freshness, Name};
use odf_node::peer::Node;
use serde_json::{Value, json};

use super::pull::news::Subject;
use crate::failure::{Failure, Kind, chain};
use crate::io::Io;
use crate::output::{Cell, Format, Listing, OutputArgs};
use crate::session::Session;

/// Directory of the proofs, in the workspace.
const DIR: &str = "proofs";
/// Proofs that are kept of one name; with as many, more tell nothing new.
const MAX_PROOFS: usize = 16;

/// Show whether a published history was rewritten, with the proof
///
/// When a node that follows a name meets a history that went back or another way, it keeps what was signed before and what is
/// signed now, with the blocks between, in one file. `odfs audit --check FILE` checks such a file on any machine, without a
/// network: it shows that both were signed by the key of the name, and nothing of who did it, or why.
#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// A dataset that was pulled by a name, or such a name [default: all that there are proofs of]
    dataset: Option<String>,
    /// Check the proof in this file
    #[arg(long, value_name = "FILE", conflicts_with = "dataset")]
    check: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &AuditArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let format = args.output.format(io);
    if let Some(path) = &args.check {
        return check(&io.resolve(path), format, io);
    }
    let name = match &args.dataset {
        Some(target) => Some(Subject::named(target, "audited", session)?.0),
        None => None,
    };
    let columns = [
        "Name",
        "Shows",
        "Relation",
        "Blocks",
        "SameNumber",
        "FirstNumber",
        "SecondNumber",
        "File",
    ];
    let mut listing = Listing::new(&columns)
        .in_words(&[
            ("Relation", None),
            ("Blocks", None),
            ("SameNumber", None),
            ("FirstNumber", None),
            ("SecondNumber", None),
        ])
        .when_empty("no history that was followed here went back or another way");
    for path in files(session.root(), name.as_ref())? {
        match read(&path) {
            Ok((proof, verdict)) => {
                let (relation, blocks) = in_terms(&verdict);
                let [first, second] = proof.records();
                listing.row([
                    proof.name().to_string().into(),
                    words(&verdict).into(),
                    relation.map_or(Value::Null, Value::from).into(),
                    blocks.map_or(Value::Null, Value::from).into(),
                    verdict.same_number.into(),
                    first.sequence().into(),
                    second.sequence().into(),
                    Cell::from(path.display().to_string()),
                ]);
            }
            Err(failure) => io.warn(failure.message()),
        }
    }
    listing.write(format, io)
}

fn check(path: &Path, format: Format, io: &mut Io) -> Result<(), Failure> {
    let (proof, verdict) = read(path)?;
    let [first, second] = proof.records();
    let value = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    if format != Format::Table {
        let (relation, blocks) = in_terms(&verdict);
        let record = |record: &odf_node::ipns::record::Record| json!({ "sequence": record.sequence(), "value": value(record.value()) });
        return io.object(&json!({
            "name": proof.name().to_string(),
            "shows": words(&verdict),
            "relation": relation,
            "blocks": blocks,
            "sameNumber": verdict.same_number,
            "first": record(first),
            "second": record(second),
        }));
    }
    io.line(format_args!("The proof holds. Signed by the key of {}:", proof.name()))?;
    io.line(format_args!(
        "  first  number {}, {}",
        first.sequence(),
        value(first.value())
    ))?;
    io.line(format_args!(
        "  then   number {}, {}",
        second.sequence(),
        value(second.value())
    ))?;
    io.line(format_args!("It shows that {}.", words(&verdict)))?;
    io.say("It says nothing of who did it or why: whoever has the key can.");
    Ok(())
}

fn read(path: &Path) -> Result<(Proof, Verdict), Failure> {
    let text = read_small_text(path, MAX_PROOF_BYTES)?;
    let text = text.ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("there is no file {}", path.display()))
            .next("`odfs audit -o json` shows the files of proofs that are here")
    })?;
    let refused = |error: ProofError| {
        Failure::new(Kind::Integrity, format!("{}: {}", path.display(), chain(&error)))
            .next("do not rely on it; ask for the file anew")
    };
    let proof = Proof::from_json(&text).map_err(refused)?;
    let verdict = proof.check().map_err(refused)?;
    Ok((proof, verdict))
}

/// The files of proofs, of one name or of all.
fn files(root: &Path, name: Option<&Name>) -> Result<Vec<PathBuf>, Failure> {
    let dir = root.join(DIR);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::file(&dir, &error)),
    };
    let begin = name.map(|name| format!("{name}-")).unwrap_or_default();
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Failure::file(&dir, &error))?;
        let file = entry.file_name();
        if file
            .to_str()
            .is_some_and(|file| file.starts_with(&begin) && file.ends_with(".json"))
        {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn words(verdict: &Verdict) -> String {
    match verdict.relation {
        Some(Relation::Forked { at }) => format!("a history went another way from block {at} on, or earlier"),
        Some(Relation::WentBack { by }) => format!("the last {by} block(s) of a history were taken back"),
        Some(Relation::GoesOn { .. }) | None => "two things were said under one number".to_owned(),
    }
}

/// The relation, and the number in it, for programs.
fn in_terms(verdict: &Verdict) -> (Option<&'static str>, Option<u64>) {
    match verdict.relation {
        Some(Relation::Forked { at }) => (Some("forked"), Some(at)),
        Some(Relation::WentBack { by }) => (Some("wentBack"), Some(by)),
        Some(Relation::GoesOn { by }) => (Some("goesOn"), Some(by)),
        None => (None, None),
    }
}

/// Keeps a proof of what is signed now under a name, if it does not go together with what is here. Gives the file, if there is
/// one.
///
/// # Errors
/// It could not be put together or written.
pub(super) async fn prove(name: &Name, session: &Session, node: &Node) -> Result<Option<PathBuf>, Failure> {
    let local = session.workspace()?.local();
    let Some(before) = proof::taken(local, name)? else {
        return Ok(None);
    };
    let now = node.names().resolve(name, Freshness::Cached).await?.record;
    if now.value() == before.value() {
        return Ok(None);
    }
    let dir = session.root().join(DIR);
    let path = dir.join(format!("{name}-{}.json", now.sequence()));
    if path.exists() || files(session.root(), Some(name))?.len() >= MAX_PROOFS {
        return Ok(None);
    }
    let fetcher = Fetcher::new(local.store().clone(), Some(node.exchange().session()));
    let proof = match Proof::gather(&fetcher, *name, before, now).await {
        Ok(proof) => proof,
        Err(ProofError::NoContradiction(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    session.disk().create_dirs(&dir, Access::Readable)?;
    session
        .disk()
        .replace(&path, proof.to_json().as_bytes(), Access::Readable)?;
    Ok(Some(path))
}
