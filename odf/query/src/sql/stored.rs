//! How the rows of a result are stored, as the engine of the reference implementation finds out before it runs a query.
//!
//! It declares a dataset by the query as it is written, and writes the slice by what it makes of it: a column of constants,
//! say, is optional in the schema and has no missing values in the file. The order that the query asks for is written down
//! in the file, also where the sort itself is left out.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlanProperties as _;

use odf_tables::slice::Ordered;

/// What the engine knows of a result.
pub(super) struct Stored {
    /// The columns, fewer of them optional, with what functions say about theirs: that a text is JSON.
    pub(super) schema: SchemaRef,
    /// The columns by which the rows are in order.
    pub(super) order: Vec<Ordered>,
}

impl Stored {
    /// The same columns as those of the result, in no order.
    pub(super) fn plainly(schema: SchemaRef) -> Stored {
        Stored {
            schema,
            order: Vec::new(),
        }
    }

    /// What comes of a plan before the engine decides how to run it.
    pub(super) async fn of(state: SessionState, plan: &LogicalPlan) -> Result<Stored> {
        let state = SessionStateBuilder::new_from_existing(state)
            .with_physical_optimizer_rules(Vec::new())
            .build();
        let planned = state.create_physical_plan(plan).await?;
        let columns = planned.schema();
        let order = planned.output_ordering().into_iter().flatten().map_while(|by| {
            let column = columns.fields().get(by.expr.downcast_ref::<Column>()?.index())?;
            Some(Ordered {
                column: column.name().clone(),
                descending: by.options.descending,
                nulls_first: by.options.nulls_first,
            })
        });
        Ok(Stored {
            order: order.collect(),
            schema: Arc::new(Schema::new(columns.fields().clone())),
        })
    }
}
