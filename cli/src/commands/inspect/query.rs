//! `odfs inspect query`

use clap::{Args, ValueEnum};
use odf::codec::EncodedBlock;
use odf::metadata::{MetadataEvent, Transform, TransformInput};
use serde_json::json;

use crate::commands::as_of::AsOfArgs;
use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// Show the queries of a dataset over time, newest first
///
/// For a derivative dataset its transforms, for a root dataset the queries that shape rows before they are stored.
#[derive(Args, Debug)]
pub(crate) struct QueryArgs {
    /// Name or id of the dataset
    dataset: String,
    /// Form of the queries [default: shell on a terminal, json otherwise]
    #[arg(short, long, value_name = "FORMAT", alias = "output-format")]
    output: Option<QueryFormat>,
    #[command(flatten)]
    as_of: AsOfArgs,
}

/// The form of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueryFormat {
    /// For people
    Shell,
    /// One JSON array of objects
    Json,
}

pub(super) fn run(args: &QueryArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let dataset = args.as_of.open(&args.dataset, session)?;
    let default = if io.terminal().output {
        QueryFormat::Shell
    } else {
        QueryFormat::Json
    };
    let format = args.output.unwrap_or(default);
    let name = dataset.name()?;
    let mut objects = Vec::new();
    let mut shown = false;
    for stored in dataset.blocks()?.rev() {
        io.check()?;
        let block = stored?.block;
        let Some(query) = Query::of(&block.block().event) else {
            continue;
        };
        match format {
            QueryFormat::Json => objects.push(query.to_json(&block)),
            QueryFormat::Shell => {
                if shown {
                    io.line("")?;
                }
                query.show(&block, name.as_str(), io)?;
            }
        }
        shown = true;
    }
    match format {
        QueryFormat::Json => io.line(serde_json::to_string_pretty(&objects).map_err(std::io::Error::from)?),
        QueryFormat::Shell if !shown => {
            io.say("no query: rows are stored as they come");
            Ok(())
        }
        QueryFormat::Shell => Ok(()),
    }
}

/// A query that an event sets.
struct Query<'a> {
    /// The push source that it belongs to.
    source: Option<&'a str>,
    inputs: &'a [TransformInput],
    transform: &'a Transform,
}

impl<'a> Query<'a> {
    fn of(event: &'a MetadataEvent) -> Option<Self> {
        let (source, inputs, transform) = match event {
            MetadataEvent::SetTransform(set) => (None, &*set.inputs, &set.transform),
            MetadataEvent::SetPollingSource(set) => (None, &[][..], set.preprocess.as_ref()?),
            MetadataEvent::AddPushSource(add) => (Some(&*add.source_name), &[][..], add.preprocess.as_ref()?),
            _ => return None,
        };
        Some(Self {
            source,
            inputs,
            transform,
        })
    }

    fn to_json(&self, block: &EncodedBlock) -> serde_json::Value {
        json!({
            "block": block.hash(),
            "sequence": block.block().sequence_number,
            "asOf": block.block().system_time,
            "event": block.block().event.kind(),
            "source": self.source,
            "inputs": self.inputs,
            "transform": self.transform,
        })
    }

    fn show(&self, block: &EncodedBlock, name: &str, io: &mut Io) -> Result<(), Failure> {
        io.line(format_args!("Transform: {}", block.hash()))?;
        io.line(format_args!("As Of: {}", block.block().system_time))?;
        if let Some(source) = self.source {
            io.line(format_args!("Source: {source}"))?;
        }
        io.line("Inputs:")?;
        for input in self.inputs {
            let alias = input.alias.as_deref().unwrap_or("-");
            io.line(format_args!("  {alias}  {}", input.dataset_ref))?;
        }
        let Transform::Sql(sql) = self.transform;
        match &sql.version {
            Some(version) => io.line(format_args!("Engine: {} ({version})", sql.engine))?,
            None => io.line(format_args!("Engine: {}", sql.engine))?,
        }
        for table in sql.temporal_tables.iter().flatten() {
            let key = table.primary_key.join(", ");
            io.line(format_args!("Temporal Table: {} PRIMARY KEY ({key})", table.name))?;
        }
        let single = sql.query.iter().map(|query| (None, query));
        let steps = sql
            .queries
            .iter()
            .flatten()
            .map(|step| (step.alias.as_deref(), &step.query));
        for (alias, query) in single.chain(steps) {
            io.line(format_args!("Query: {}", alias.unwrap_or(name)))?;
            for line in query.trim_end().lines() {
                io.line(format_args!("  {line}"))?;
            }
        }
        Ok(())
    }
}
