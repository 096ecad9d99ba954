//! The current state of a dataset as a table: its rows with retractions and corrections applied, as
//! `odf_dataset::Current` has them for exports.

use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::{Column, JoinType, NullEquality, Result, exec_err};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
    ident, lit,
};
use odf_metadata::OperationType;

use super::provider::Provider;

/// What the dataset and the last changes of its keys are called in the plan.
const ROWS: &str = "rows";
const LAST: &str = "last";
/// The offset of the last row of a key that did something else than append.
const CHANGED: &str = "changed at";

/// The rows that hold: a row that was appended since the last retraction or correction of its key, or that this one
/// corrected to. Rows of a dataset without a primary key hold as long as none of them takes another back.
pub(super) fn current(provider: Arc<Provider>) -> Result<Arc<dyn TableProvider>> {
    let table = provider.table();
    let (offset, operation) = (&table.vocabulary.offset_column, &table.vocabulary.operation_type_column);
    if table.schema.fields().is_empty() {
        return Ok(provider);
    }
    let scan = |name: &str| LogicalPlanBuilder::scan(name, provider_as_source(provider.clone()), None);
    let number = |operation: OperationType| lit(operation as i32);
    let operation_of = |qualifier: &str| cast(named(qualifier, operation), DataType::Int32);
    let columns = table.schema.fields().iter().map(|field| named(ROWS, field.name()));
    let columns: Vec<Expr> = columns.collect();
    let plan = if table.key.is_empty() {
        let appended = ScalarUDF::new_from_impl(Appended::new()).call(vec![operation_of(ROWS)]);
        scan(ROWS)?.filter(appended)?.project(columns)?
    } else {
        let keys = table.key.iter().map(|key| named(LAST, key));
        let changes = scan(LAST)?
            .filter(operation_of(LAST).not_eq(number(OperationType::Append)))?
            .aggregate(keys, [max(named(LAST, offset)).alias(CHANGED)])?;
        let on = |qualifier: &str| -> Vec<Column> {
            let keys = table.key.iter();
            keys.map(|key| Column::new(Some(qualifier), key)).collect()
        };
        let changed = ident(CHANGED);
        let is_last = named(ROWS, offset).eq(changed.clone()).and(
            operation_of(ROWS)
                .not_eq(number(OperationType::Retract))
                .and(operation_of(ROWS).not_eq(number(OperationType::CorrectFrom))),
        );
        let holds = changed
            .clone()
            .is_null()
            .or(named(ROWS, offset).gt(changed))
            .or(is_last);
        // The few changes are what the join holds in memory; the rows pass.
        changes
            .join_detailed(
                scan(ROWS)?.build()?,
                JoinType::Right,
                (on(LAST), on(ROWS)),
                None,
                NullEquality::NullEqualsNull,
            )?
            .filter(holds)?
            .project(columns)?
    };
    Ok(Arc::new(ViewTable::new(plan.build()?, None)))
}

/// A column by its exact name.
fn named(qualifier: &str, name: &str) -> Expr {
    Expr::Column(Column::new(Some(qualifier), name))
}

/// True of every row that was appended. Any other is an error: nothing says which rows it takes back.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Appended(Signature);

impl Appended {
    fn new() -> Appended {
        Appended(Signature::exact(vec![DataType::Int32], Volatility::Volatile))
    }
}

impl ScalarUDFImpl for Appended {
    fn name(&self) -> &str {
        "appended"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        for argument in ColumnarValue::values_to_arrays(&args.args)? {
            let operations = argument.as_primitive::<Int32Type>();
            if operations
                .iter()
                .flatten()
                .any(|operation| operation != OperationType::Append as i32)
            {
                return exec_err!(
                    "its rows retract or correct others, and no source of the dataset names the primary key by which these are found"
                );
            }
        }
        Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::Boolean(Some(
            true,
        ))))
    }
}
