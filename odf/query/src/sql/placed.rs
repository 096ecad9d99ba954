//! In which order a result is stored, as the engine of the reference implementation finds it out: it plans a query and what
//! stores its rows as one. A last `ORDER BY` without `LIMIT` is left out of such a plan, unless its first column is the event
//! time; the parts of a `UNION ALL` are merged by event time, and take turns where that is equal.
//!
//! The same is planned here, up to the sort by event time. That sort is left to the merge of the dataset, which does not hold
//! more rows than it may.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionState;
use datafusion::functions::core::expr_fn::{coalesce, named_struct};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, cast, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

/// A column that keeps the values which are stored, beside those by which is sorted. No result can have one of this name: it
/// has a character that ends text elsewhere.
const KEPT: &str = "kept\u{0}";

/// The column that the plan numbers rows in.
const NUMBER: &str = "number\u{0}";

/// How a result is computed whose rows are stored.
pub(super) struct Placed {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// Whether its rows come in the order in which they are stored.
    pub(super) is_arranged: bool,
    columns: Vec<Place>,
}

/// Where a column of the result is.
enum Place {
    At(usize),
    /// Within [`KEPT`], which is at the first of these positions.
    Kept(usize, usize),
}

/// Whether a plan ends with a sort by the event time first, which is not left out.
fn leads_with(plan: &LogicalPlan, event_time: &str) -> bool {
    match plan {
        LogicalPlan::Sort(sort) => {
            let first = sort.expr.first().map(|by| &by.expr);
            sort.fetch.is_none() && matches!(first, Some(Expr::Column(column)) if column.name == event_time)
        }
        LogicalPlan::SubqueryAlias(alias) => leads_with(&alias.input, event_time),
        _ => false,
    }
}

fn column(name: &str) -> Expr {
    col(Column::from_name(name))
}

fn millis() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

fn instant(millis: i64) -> Expr {
    Expr::Literal(
        ScalarValue::TimestampMillisecond(Some(millis), Some("UTC".into())),
        None,
    )
}

/// Plans what a plan computes, to be stored in the order of this column, and rows without an event time where those of `now`
/// are. None if the plan is to be computed as it stands: it is sorted by event time first, or planned in a way that is not known.
pub(super) async fn placed(
    state: &SessionState,
    plan: LogicalPlan,
    event_time: &str,
    now: i64,
) -> Result<Option<Placed>> {
    if leads_with(&plan, event_time) {
        return Ok(None);
    }
    let fields = plan.schema().fields().clone();
    let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..));
    let is_kept = |name: &str, data_type: &DataType| name == event_time || is_time(data_type) && *data_type != millis();
    let kept: Vec<&str> = fields
        .iter()
        .filter(|field| is_kept(field.name(), field.data_type()))
        .map(|field| field.name().as_str())
        .collect();

    let mut frame = DataFrame::new(state.clone(), plan);
    if !kept.is_empty() {
        let stored = fields.iter().map(|field| {
            let name = field.name();
            match is_time(field.data_type()) && *field.data_type() != millis() {
                true => cast(column(name), millis()).alias(name),
                false => column(name),
            }
        });
        let members = kept.iter().flat_map(|name| [lit(*name), column(name)]);
        let members = named_struct(members.collect()).alias(KEPT);
        frame = frame.select(stored.chain([members]).collect::<Vec<_>>())?;
    }
    let data_type =
        fields
            .iter()
            .find(|field| field.name() == event_time)
            .map(|field| match is_time(field.data_type()) {
                true => millis(),
                false => field.data_type().clone(),
            });
    if data_type.is_none() {
        frame = frame.with_column(event_time, cast(Expr::Literal(ScalarValue::Null, None), millis()))?;
    }
    let given = cast(instant(now), data_type.unwrap_or_else(millis));
    let by_time = row_number()
        .order_by(vec![column(event_time).sort(true, true)])
        .partition_by(vec![lit(1)])
        .build()?;
    // The last sort changes nothing, but decides with the others which of them are left out.
    let frame = frame
        .with_column(event_time, coalesce(vec![column(event_time), given]))?
        .with_column(NUMBER, by_time)?
        .with_column(NUMBER, cast(column(NUMBER) + lit(-1i64), DataType::Int64))?
        .sort(vec![column(NUMBER).sort(true, true)])?;
    let mut node = frame.create_physical_plan().await?;
    let rows = loop {
        let is_window =
            node.downcast_ref::<BoundedWindowAggExec>().is_some() || node.downcast_ref::<WindowAggExec>().is_some();
        let next = match node.children().as_slice() {
            [only] => Arc::clone(only),
            _ => return Ok(None),
        };
        if is_window {
            break next;
        }
        node = next;
    };
    let sort = rows
        .downcast_ref::<SortExec>()
        .filter(|sort| !sort.preserve_partitioning() && sort.fetch().is_none());
    let (plan, is_arranged) = match sort {
        Some(sort) => (Arc::clone(sort.input()), false),
        None => (rows, true),
    };
    let schema = plan.schema();
    let mut columns = Vec::with_capacity(fields.len());
    for field in &fields {
        let name = field.name();
        let place = match kept.iter().position(|kept| kept == name) {
            Some(at) => schema.index_of(KEPT).ok().map(|kept| Place::Kept(kept, at)),
            None => schema.index_of(name).ok().map(Place::At),
        };
        match place {
            Some(place) => columns.push(place),
            None => return Ok(None),
        }
    }
    Ok(Some(Placed {
        plan,
        is_arranged,
        columns,
    }))
}

impl Placed {
    /// The columns of the result, of rows that the plan gives.
    ///
    /// # Errors
    /// They are not there.
    pub(super) fn columns(&self, batch: &RecordBatch) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        let missing = || ArrowError::SchemaError("a column of the result is not there".to_owned());
        let column = |place: &Place| match place {
            Place::At(at) => batch.columns().get(*at).cloned().ok_or_else(missing),
            Place::Kept(kept, at) => {
                let kept = batch.columns().get(*kept).and_then(|kept| kept.as_struct_opt());
                kept.and_then(|kept| kept.columns().get(*at).cloned())
                    .ok_or_else(missing)
            }
        };
        self.columns.iter().map(column).collect()
    }
}
