//! `odfs inspect lineage`

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use odf::lineage::Lineage;
use odf::metadata::DatasetId;
use serde_json::json;

use crate::failure::Failure;
use crate::io::Io;
use crate::output::{Format, Listing};
use crate::session::Session;

mod drawing;
mod view;

use view::{Described, View};

/// How deep a tree is shown.
const MAX_TREE_DEPTH: usize = 128;

/// Show what datasets are computed from
#[derive(Args, Debug)]
pub(crate) struct LineageArgs {
    /// Names, ids, or patterns with % for any text [default: all datasets]
    datasets: Vec<String>,
    /// Form of the lineage [default: shell on a terminal, json otherwise]
    #[arg(short, long, value_name = "FORMAT", alias = "output-format")]
    output: Option<LineageFormat>,
}

/// The form of the lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LineageFormat {
    /// A tree a dataset, inputs below
    Shell,
    /// The graph for Graphviz
    Dot,
    /// A line a dataset and input
    Csv,
    /// A drawing as a page of its own
    Html,
    /// One JSON array with an object a dataset
    Json,
}

pub(super) fn run(args: &LineageArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let catalog = session.workspace()?.catalog();
    let entries = if args.datasets.is_empty() {
        catalog.entries()?
    } else {
        crate::commands::matching::entries(&args.datasets, session)?
    };
    let lineage = Lineage::of(catalog)?;
    let asked: Vec<DatasetId> = entries.iter().map(|entry| entry.id).collect();
    let all = lineage.upstream(&asked);
    let view = View { lineage, asked, all };
    let default = if io.terminal().output {
        LineageFormat::Shell
    } else {
        LineageFormat::Json
    };
    match args.output.unwrap_or(default) {
        LineageFormat::Shell => io.text(&tree(&view)),
        LineageFormat::Dot => io.text(&drawing::dot(&view)),
        LineageFormat::Html => io.text(&drawing::html(&view)),
        LineageFormat::Csv => csv(&view, io),
        LineageFormat::Json => json(&view, io),
    }
}

/// A line a dataset, its inputs indented below. What a dataset is made of is shown once.
fn tree(view: &View) -> String {
    let mut text = String::new();
    let mut shown = BTreeSet::new();
    for id in &view.asked {
        branch(view, id, "", "", 0, &mut shown, &mut text);
    }
    text
}

fn branch(
    view: &View,
    id: &DatasetId,
    first: &str,
    rest: &str,
    depth: usize,
    shown: &mut BTreeSet<DatasetId>,
    text: &mut String,
) {
    let Described { label, kind, here } = view.describe(id);
    let inputs = view.inputs(id);
    let again = !shown.insert(*id) && !inputs.is_empty() && depth > 0;
    let more = if again || depth == MAX_TREE_DEPTH { " …" } else { "" };
    text.push_str(&format!("{first}{label}: {kind}{more}\n"));
    if !more.is_empty() {
        return;
    }
    if !here {
        text.push_str(&format!("{rest}└── ?\n"));
    }
    for (at, input) in inputs.iter().enumerate() {
        let (here, below) = if at + 1 == inputs.len() {
            ("└── ", "    ")
        } else {
            ("├── ", "│   ")
        };
        let (first, rest) = (format!("{rest}{here}"), format!("{rest}{below}"));
        branch(view, input, &first, &rest, depth + 1, shown, text);
    }
}

fn csv(view: &View, io: &mut Io) -> Result<(), Failure> {
    let mut listing = Listing::new(&["name", "available", "depends_on"]);
    for id in &view.all {
        let Described { label, here, .. } = view.describe(id);
        let inputs = view.inputs(id);
        if inputs.is_empty() {
            listing.row([label.into(), here.into(), serde_json::Value::Null.into()]);
            continue;
        }
        for input in inputs {
            let input = view.describe(&input).label;
            listing.row([label.as_str().into(), here.into(), input.into()]);
        }
    }
    listing.write(Format::Csv, io)
}

fn json(view: &View, io: &mut Io) -> Result<(), Failure> {
    let object = |id: &DatasetId| {
        let Described { label, kind, here } = view.describe(id);
        let inputs = view.lineage.node(id).into_iter().flat_map(|node| &node.inputs);
        let inputs: Vec<_> = inputs
            .map(|input| json!({"id": input.id, "name": view.describe(&input.id).label, "alias": input.alias}))
            .collect();
        json!({
            "id": id,
            "name": label,
            "kind": here.then_some(kind),
            "available": here,
            "inputs": inputs,
        })
    };
    let objects: Vec<_> = view.all.iter().map(object).collect();
    io.line(serde_json::to_string_pretty(&objects).map_err(std::io::Error::from)?)
}
