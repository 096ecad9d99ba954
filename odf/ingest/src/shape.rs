//! The columns that a reading gives, in the order and with the types they will have in the dataset.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// Columns wanted from a table. Names are matched exactly; the order in the file does not matter.
#[derive(Clone, Debug)]
pub struct Shape {
    schema: SchemaRef,
    by_name: HashMap<String, usize>,
    /// By the name in lower case.
    by_lower: HashMap<String, usize>,
    event_time: Option<usize>,
    operation: Option<usize>,
    /// The rows come by a source in the chain.
    by_source: bool,
    /// The time columns in which integers count units since 1970.
    integer_times: Vec<(usize, TimeUnit)>,
    /// Columns that a table may be without.
    optional: Vec<usize>,
    /// Columns that are not read.
    unread: Vec<usize>,
    /// The column whose values are made anew once they are read.
    anew: Option<usize>,
}

impl Shape {
    /// The fields in the order of the dataset. `event_time` names the one with the event time.
    pub fn new(fields: Vec<Field>, event_time: Option<&str>) -> Shape {
        let by_name: HashMap<String, usize> = fields
            .iter()
            .enumerate()
            .map(|(at, field)| (field.name().clone(), at))
            .collect();
        let event_time = event_time.and_then(|name| by_name.get(name).copied());
        Shape {
            by_lower: by_name.iter().map(|(name, at)| (name.to_lowercase(), *at)).collect(),
            schema: Arc::new(Schema::new(fields)),
            by_name,
            event_time,
            operation: None,
            by_source: false,
            integer_times: Vec::new(),
            optional: Vec::new(),
            unread: Vec::new(),
            anew: None,
        }
    }

    /// Says which column holds the operation of each row. It is read, and its values are not among those written.
    pub fn with_operation(self, name: &str) -> Shape {
        Shape {
            operation: self.position(name),
            ..self
        }
    }

    /// Says that the rows come by a source in the chain: they are merged as the reference implementation does it, which looks
    /// neither at the numbers of operations nor, the first time, for columns to be compared.
    pub fn by_source(self) -> Shape {
        Shape {
            by_source: true,
            ..self
        }
    }

    /// Lets a table be without a column: it is read as nulls then.
    pub fn with_optional(mut self, at: Option<usize>) -> Shape {
        self.optional.extend(at);
        self
    }

    /// Says in which unit integers count in time columns, by name. In others of an undeclared table integers are refused.
    pub fn with_integer_times(mut self, times: &[(String, TimeUnit)]) -> Shape {
        let known = times
            .iter()
            .filter_map(|(name, unit)| Some((self.position(name)?, *unit)));
        self.integer_times = known.collect();
        self
    }

    /// In which unit since 1970 integers count in this column; none if nobody said it.
    pub fn integer_time(&self, at: usize) -> Option<TimeUnit> {
        self.integer_times
            .iter()
            .find(|(time, _)| *time == at)
            .map(|(_, unit)| *unit)
    }

    /// Has only these columns read. The others have to be in the table where they have to be there anyway; what stands in them
    /// is not looked at, and they come as nulls.
    pub(crate) fn reading_only(self, columns: &[usize]) -> Shape {
        let unread: Vec<usize> = (0..self.width()).filter(|at| !columns.contains(at)).collect();
        let fields = self.schema.fields().iter().enumerate();
        let fields = fields.map(|(at, field)| match unread.contains(&at) {
            true => Arc::new(field.as_ref().clone().with_nullable(true)),
            false => field.clone(),
        });
        Shape {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            unread,
            ..self
        }
    }

    /// Whether a column is not read, see [`Self::reading_only`].
    pub(crate) fn is_unread(&self, at: usize) -> bool {
        self.unread.contains(&at)
    }

    /// Says which column, if it is there, has its values made anew once they are read: event times, of which rows without one
    /// get that of the run.
    pub(crate) fn with_made_anew(self, name: &str) -> Shape {
        Shape {
            anew: self.position(name),
            ..self
        }
    }

    /// Whether the values of a column are made anew, see [`Self::with_made_anew`].
    pub(crate) fn is_made_anew(&self, at: usize) -> bool {
        self.anew == Some(at)
    }

    /// Whether a table may be without this column.
    pub fn is_optional(&self, at: usize) -> bool {
        self.optional.contains(&at)
    }

    /// The Arrow schema of every batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Position of the event time column.
    pub fn event_time(&self) -> Option<usize> {
        self.event_time
    }

    /// Position of the column with the operation of each row, where the table says it.
    pub fn operation(&self) -> Option<usize> {
        self.operation
    }

    /// Whether rows may have operations that ODF gives no meaning.
    pub(crate) fn takes_any_operation(&self) -> bool {
        self.by_source
    }

    /// Whether columns that are to be compared may be missing where there is nothing to compare with.
    pub(crate) fn may_lack_compared(&self) -> bool {
        self.by_source
    }

    /// Position of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Position of a column whose name differs from `name` in case only.
    pub(crate) fn position_but_for_case(&self, name: &str) -> Option<usize> {
        self.by_lower.get(&name.to_lowercase()).copied()
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.schema.fields().len()
    }

    /// Name of a column.
    pub fn name(&self, at: usize) -> &str {
        self.schema.field(at).name()
    }

    /// All names, for messages.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        names.join(", ")
    }
}

/// The name of a type in messages: the one ODF and kamu use.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "String".to_owned(),
        DataType::Boolean => "Bool".to_owned(),
        DataType::Date32 | DataType::Date64 => "Date".to_owned(),
        DataType::Timestamp(_, _) => "Timestamp".to_owned(),
        DataType::Decimal128(precision, scale) => format!("Decimal({precision}, {scale})"),
        other => other.to_string(),
    }
}
