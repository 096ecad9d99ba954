//! Functions as the reference implementation has them.
//!
//! Its engine is DataFusion 54, in which some functions give results of other types than in ours, and constant tables are
//! declared otherwise. Types are part of the schema and of the bytes of a slice, so that one query would make two datasets.
//! What is here goes when that engine catches up; docs/compatibility.md has the list, and what is not in it.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Values,
};

/// The functions that have other results there, and what is other about them.
const EARLIER: [(&str, Change); 6] = [
    ("left", Change::View),
    ("right", Change::View),
    ("substr", Change::View),
    ("round", Change::Float),
    ("regexp_count", Change::Zero),
    ("version", Change::Version),
];

/// What `version()` says there, before architecture and system.
const VERSION: &str = "Apache DataFusion 54.1.0";

/// Functions that it does not have. A source whose query calls them could be fed from here only.
const LATER: [&str; 8] = [
    "array_add",
    "array_avg",
    "array_product",
    "array_scale",
    "array_subtract",
    "array_sum",
    "file_row_index",
    "input_file_name",
];

/// What was other about the result of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Change {
    /// Text was a view, whatever the argument was.
    View,
    /// Integers became floats.
    Float,
    /// Where an argument was missing, nothing was counted.
    Zero,
    /// It names the release.
    Version,
}

/// Puts the functions in the place of the engine's own, those for JSON beside them, and leaves out those that came later.
pub(super) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    datafusion_functions_json::register_all(registry)?;
    for (name, change) in EARLIER {
        let function = registry.udf(name)?;
        registry.register_udf(Arc::new(Earlier::function(function, change)))?;
    }
    for name in LATER {
        registry.deregister_udf(name)?;
    }
    registry.deregister_udaf("any_value")?;
    Ok(())
}

/// A function with the results that it had.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Earlier {
    function: Arc<ScalarUDF>,
    change: Change,
    signature: Signature,
}

impl Earlier {
    fn function(function: Arc<ScalarUDF>, change: Change) -> ScalarUDF {
        let signature = match change {
            Change::Float => Signature::user_defined(function.signature().volatility),
            Change::View | Change::Zero | Change::Version => function.signature().clone(),
        };
        ScalarUDF::new_from_impl(Earlier {
            function,
            change,
            signature,
        })
    }
}

impl ScalarUDFImpl for Earlier {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let field = |(at, given): (usize, &DataType)| {
            let given = match given {
                integer if at == 0 && integer.is_integer() => DataType::Float64,
                other => other.clone(),
            };
            Arc::new(Field::new("argument", given, true))
        };
        let fields: Vec<FieldRef> = given.iter().enumerate().map(field).collect();
        let fields = fields_with_udf(&fields, self.function.as_ref())?;
        Ok(fields.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match self.change {
            Change::View => Ok(DataType::Utf8View),
            Change::Float | Change::Zero | Change::Version => self.function.return_type(given),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = self.function.return_field_from_args(args)?;
        Ok(match self.change {
            Change::View => Arc::new(Field::new(self.name(), DataType::Utf8View, true)),
            Change::Float | Change::Zero | Change::Version => field,
        })
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self.change {
            Change::Float => self.function.invoke_with_args(args),
            Change::Version => Ok(match self.function.invoke_with_args(args)? {
                ColumnarValue::Scalar(ScalarValue::Utf8(Some(here))) => {
                    let machine = here.split_once(", ").map_or("", |(_, machine)| machine);
                    ColumnarValue::Scalar(ScalarValue::Utf8(Some(format!("{VERSION}, {machine}"))))
                }
                other => other,
            }),
            Change::View => {
                let Some(text) = args.arg_fields.first().map(|field| field.data_type().clone()) else {
                    return internal_err!("{} without an argument", self.name());
                };
                args.return_field = Arc::new(Field::new(self.name(), text, true));
                self.function.invoke_with_args(args)?.cast_to(&DataType::Utf8View, None)
            }
            Change::Zero => Ok(match self.function.invoke_with_args(args)? {
                ColumnarValue::Scalar(scalar) if scalar.is_null() => ColumnarValue::Scalar(ScalarValue::Int64(Some(0))),
                ColumnarValue::Array(array) if array.null_count() > 0 => {
                    let counts = array.as_primitive::<Int64Type>().iter();
                    let counts: Int64Array = counts.map(|count| Some(count.unwrap_or(0))).collect();
                    ColumnarValue::Array(Arc::new(counts))
                }
                other => other,
            }),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }
}

/// `SUBSTRING(text FROM n)`, which the engine plans by its own function otherwise.
#[derive(Debug)]
pub(super) struct Substring(Arc<ScalarUDF>);

impl Substring {
    /// Stands before the planners of the engine.
    pub(super) fn planner() -> Arc<dyn ExprPlanner> {
        let function = datafusion::functions::unicode::substr();
        Arc::new(Substring(Arc::new(Earlier::function(function, Change::View))))
    }
}

impl ExprPlanner for Substring {
    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let function = ScalarFunction::new_udf(self.0.clone(), args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(function)))
    }
}

/// The plan with the columns of every `VALUES` optional, whatever the values are.
pub(super) fn with_optional_values(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !plan.exists(|node| Ok(matches!(node, LogicalPlan::Values(_))))? {
        return Ok(plan);
    }
    let loosened = plan.transform_up_with_subqueries(|node| {
        Ok(Transformed::yes(match node {
            LogicalPlan::Values(Values { schema, values }) => {
                let fields = schema.iter().map(|(qualifier, field)| {
                    let field = field.as_ref().clone().with_nullable(true);
                    (qualifier.cloned(), Arc::new(field))
                });
                let schema = DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?;
                LogicalPlan::Values(Values {
                    schema: Arc::new(schema),
                    values,
                })
            }
            other => other.recompute_schema()?,
        }))
    })?;
    Ok(loosened.data)
}
