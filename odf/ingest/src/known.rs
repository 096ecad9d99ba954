//! What a published table meets: which part of it is new, and which of its columns becomes which of the dataset.

use arrow::datatypes::{DataType, TimeUnit};
use odf_metadata::chain::ChainState;
use odf_metadata::{MergeStrategy, SetDataSchema};
use odf_tables::ddl::ColumnType;

use crate::before::Before;
use crate::declare;
use crate::error::IngestError;
use crate::ground::{ColumnNote, History};
use crate::infer::{self, Inferred};
use crate::merge::{self, OperationColumn};
use crate::options::{Changed, Options};
use crate::plan::{self, Plan};
use crate::shape::type_name;
use crate::source::{OnProgress, Problem, Source, Span};
use crate::taken::{self, Check, Comparison, Growth, Memory, Taken};

/// What a published table meets.
pub(super) struct Known {
    pub(super) before: Before,
    /// The strategy in the chain is another one, or there is none and one was asked for.
    pub(super) new_source: bool,
    /// The columns that the source in the chain declares, where there is no schema yet.
    declared: Option<Inferred>,
    /// In which unit integers count in its time columns, as that source says.
    integer_times: Vec<(String, TimeUnit)>,
    taken: Option<Taken>,
}

/// The part of a table to be read.
pub(super) struct Part {
    pub(super) span: Span,
    /// The state after it.
    pub(super) taken: Taken,
    /// The new part of a file that grew.
    pub(super) new: Option<Span>,
}

/// Which column of the table becomes which of the dataset.
pub(super) struct Settled {
    pub(super) plan: Plan,
    /// The columns of the table, where they were looked at.
    pub(super) columns: Option<Inferred>,
    /// The schema that the dataset gets, where the table adds columns to it.
    pub(super) added: Option<SetDataSchema>,
    /// Why new columns are text.
    pub(super) notes: Vec<ColumnNote>,
}

impl Known {
    pub(super) fn nothing(options: &Options) -> Known {
        let strategy = options.strategy(None).unwrap_or(MergeStrategy::Append);
        Known {
            before: Before::nothing(strategy, options.event_time.as_deref()),
            new_source: true,
            declared: None,
            integer_times: Vec::new(),
            taken: None,
        }
    }

    /// How the file may be looked at if that is wanted. Where all of its rows are looked at, all of it is read anyway, and
    /// then the hash must be of just those bytes: growth is not believed.
    pub(super) fn check(&self, wanted: Check) -> Check {
        let all_rows = self.new_source || merge::needs_history(&self.before.strategy);
        match wanted {
            Check::Quick if all_rows => Check::Touched,
            wanted => wanted,
        }
    }

    pub(super) fn of(history: &dyn History, state: &ChainState, options: &Options) -> Result<Known, IngestError> {
        let recorded = state.merge_strategy();
        let wanted = options.strategy(recorded);
        let new_source = wanted.is_some() && wanted.as_ref() != recorded;
        if new_source && state.polling_source.is_some() {
            return Err(IngestError::Polling);
        }
        if state.push_source().is_some_and(|source| source.preprocess.is_some()) {
            return Err(IngestError::Preprocessed);
        }
        let strategy = wanted.as_ref().or(recorded);
        let before = Before::of(history, state, strategy.cloned().unwrap_or(MergeStrategy::Append))?;
        if let Some(wanted) = &options.event_time
            && *wanted != before.vocabulary.event_time_column
        {
            return Err(IngestError::EventTimeFixed {
                actual: before.vocabulary.event_time_column,
                wanted: wanted.clone(),
            });
        }
        let declared = if before.schema.is_none() {
            declare::declared_columns(state)?
        } else {
            None
        };
        Ok(Known {
            new_source,
            declared,
            integer_times: declare::declared_integer_times(state),
            taken: before.source_state.as_ref().and_then(Taken::from_state),
            before,
        })
    }

    /// Which part of the file to read; none if there is nothing new.
    pub(super) fn part(
        &self,
        source: &Source,
        changed: Changed,
        growth: Growth,
        memory: &mut Memory,
        progress: &mut OnProgress<'_>,
    ) -> Result<Option<Part>, IngestError> {
        let comparison = taken::compare(source, self.taken.as_ref(), growth, memory, progress)?;
        let whole = |taken: Taken| Part {
            span: Span {
                start: 0,
                line: 0,
                end: taken.length,
            },
            taken,
            new: None,
        };
        // A strategy that does not look at earlier rows would write every row again.
        let append = !merge::needs_history(&self.before.strategy);
        let is_snapshot = matches!(self.before.strategy, MergeStrategy::Snapshot { .. });
        Ok(match comparison {
            // The same file under another strategy may still change what is there.
            Comparison::Same if self.new_source => self.taken.clone().map(whole),
            Comparison::Same | Comparison::Waits => None,
            // A snapshot is the whole state, so half a row goes when the whole one comes. Elsewhere it would stay.
            Comparison::WentOn { taken } if is_snapshot || changed == Changed::TakeAll => Some(whole(taken)),
            Comparison::WentOn { .. } => return Err(IngestError::WentOn(source.name().to_owned())),
            Comparison::Fresh { taken, .. } | Comparison::Changed { taken, .. } if !append => Some(whole(taken)),
            Comparison::Grew { taken, .. } if !append && self.new_source => Some(whole(taken)),
            Comparison::Grew { span, taken } if !append => Some(Part {
                new: Some(span),
                ..whole(taken)
            }),
            Comparison::Grew { span, taken } => Some(Part { span, taken, new: None }),
            Comparison::Fresh { taken, .. } if self.before.rows == 0 || changed == Changed::TakeAll => {
                Some(whole(taken))
            }
            Comparison::Fresh { .. } => {
                return Err(IngestError::Unknown {
                    name: source.name().to_owned(),
                    rows: self.before.rows,
                });
            }
            Comparison::Changed { taken, .. } if changed == Changed::TakeAll => Some(whole(taken)),
            Comparison::Changed { change, .. } => {
                return Err(IngestError::Changed {
                    name: source.name().to_owned(),
                    length: self.taken.as_ref().map_or(0, |taken| taken.length),
                    change,
                });
            }
        })
    }

    /// Settles which column of the table becomes which of the dataset.
    pub(super) fn settle(
        &self,
        source: &Source,
        span: Span,
        options: &Options,
        progress: &mut OnProgress<'_>,
    ) -> Result<Settled, IngestError> {
        let Before {
            strategy,
            vocabulary,
            schema,
            ..
        } = &self.before;
        let wanted = options.types.iter();
        let said = wanted.filter_map(|column| Some((column.field.name().clone(), column.integer_time?)));
        // What is said now goes before what was said once.
        let mut integer_times: Vec<(String, TimeUnit)> = said.collect();
        for known in &self.integer_times {
            if !integer_times.iter().any(|(name, _)| *name == known.0) {
                integer_times.push(known.clone());
            }
        }
        if let Some(schema) = schema {
            let mut settled = Settled {
                plan: Plan::fit(source, schema, vocabulary, strategy)?,
                columns: None,
                added: None,
                notes: Vec::new(),
            };
            if options.add_columns {
                let mut found = source.infer(span.end, progress)?;
                let operation = OperationColumn::of(strategy);
                if let Some(column) = found
                    .columns
                    .iter()
                    .find(|column| operation.reserves(&column.name, vocabulary))
                {
                    return Err(source.column_error(&column.name, Problem::Reserved).into());
                }
                for ColumnType { field, .. } in &options.types {
                    for column in found.columns.iter_mut().filter(|column| column.name == *field.name()) {
                        column.data_type = field.data_type().clone();
                        column.note = None;
                    }
                }
                if let Some(wider) = declare::widened(schema, &found, &self.before, source)? {
                    found
                        .columns
                        .retain(|column| schema.fields.iter().all(|field| field.name != column.name));
                    settled.notes = notes(&found);
                    settled.plan = Plan::fit(source, &wider, vocabulary, strategy)?;
                    settled.added = Some(SetDataSchema {
                        raw_arrow_schema: None,
                        schema: Some(wider),
                    });
                }
            }
            let plan = &settled.plan;
            for ColumnType { field, .. } in &options.types {
                let actual = plan.schema().field_with_name(field.name());
                let actual = actual
                    .map_err(|_| source.column_error(field.name(), Problem::NotInDataset(plan.shape().names())))?;
                if actual.data_type() != field.data_type() {
                    return Err(IngestError::TypeFixed {
                        column: field.name().clone(),
                        actual: type_name(actual.data_type()),
                        wanted: type_name(field.data_type()),
                    });
                }
            }
            settled.plan = settled.plan.with_integer_times(&integer_times);
            return Ok(settled);
        }
        let (mut inferred, declared) = match &self.declared {
            Some(declared) => (declared.clone(), true),
            None => (source.infer(span.end, progress)?, false),
        };
        for column in &mut inferred.columns {
            // Whatever the unit in which a source reads its times, the dataset has milliseconds.
            if matches!(column.data_type, DataType::Timestamp(..)) {
                column.data_type = infer::timestamp();
            }
        }
        for ColumnType { field, .. } in &options.types {
            let Some(column) = inferred.columns.iter().position(|column| column.name == *field.name()) else {
                return Err(source
                    .column_error(field.name(), Problem::NoColumn(inferred.names()))
                    .into());
            };
            let column = &mut inferred.columns[column];
            column.data_type = field.data_type().clone();
            column.nullable = field.is_nullable();
            column.note = None;
        }
        if !declared && inferred.rows == 0 {
            return Err(source.error(Problem::NoRows).into());
        }
        // What a source declares is taken as it stands.
        let required = if declared { &[][..] } else { strategy.primary_key() };
        let wanted = options.event_time.is_some() || vocabulary.event_time_column != plan::EVENT_TIME;
        let plan = Plan::infer(source, &inferred, vocabulary, wanted, required, strategy)?;
        Ok(Settled {
            plan: plan.with_integer_times(&integer_times),
            notes: notes(&inferred),
            columns: Some(inferred),
            added: None,
        })
    }
}

/// Why columns are text although they look like something else.
fn notes(inferred: &Inferred) -> Vec<ColumnNote> {
    let note = |column: &infer::InferredColumn| {
        Some(ColumnNote {
            column: column.name.clone(),
            note: column.note.clone()?,
        })
    };
    inferred.columns.iter().filter_map(note).collect()
}
