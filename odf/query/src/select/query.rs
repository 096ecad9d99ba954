//! A query as text: that it only reads, and what it names.

use std::fmt;
use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, ObjectName, Statement as SqlStatement, TableFactor, Value, Visit as _, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;

use super::SelectError;
use crate::sql::{MAX_QUERY_BYTES, MAX_STEPS};

/// A statement that only reads; what it selects from was not looked at.
#[derive(Debug, Clone)]
pub struct Query(Statement);

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Query {
    /// The statements of a text, which semicolons separate.
    ///
    /// # Errors
    /// It is no SQL, is longer than [`MAX_QUERY_BYTES`], has more than [`MAX_STEPS`] statements, or one that would change
    /// something.
    pub fn all(text: &str) -> Result<Vec<Query>, SelectError> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(SelectError::TooLong);
        }
        let dialect = GenericDialect {};
        let statements = DFParserBuilder::new(text)
            .with_dialect(&dialect)
            .build()
            .and_then(|mut parser| parser.parse_statements());
        let statements = statements.map_err(|error| SelectError::of(error, 0))?;
        if statements.len() > MAX_STEPS {
            return Err(SelectError::TooLong);
        }
        let each = statements.into_iter().map(|statement| match only_reads(&statement) {
            true => Ok(Query(statement)),
            false => Err(SelectError::NotAQuery),
        });
        each.collect()
    }

    /// What the engine understands.
    pub(super) fn statement(&self) -> &Statement {
        &self.0
    }

    /// The tables that it names, each once, in the order of the text; those that it makes by itself (`WITH`) among them.
    pub fn mentions(&self) -> Vec<String> {
        let mut mentions = Mentions::default();
        let statement = match &self.0 {
            Statement::Explain(explain) => &explain.statement,
            other => other,
        };
        if let Statement::Statement(inner) = statement {
            let _ = inner.visit(&mut mentions);
        }
        mentions.0
    }

    /// The plan of this query in place of its rows; of what has none, itself.
    ///
    /// # Errors
    /// None that is known: what was written down is read again.
    pub fn explained(self) -> Result<Query, SelectError> {
        match &self.0 {
            Statement::Statement(inner) if matches!(**inner, SqlStatement::Query(_)) => {
                let mut explained = Query::all(&format!("EXPLAIN {inner}"))?;
                Ok(explained.pop().unwrap_or(self))
            }
            _ => Ok(self),
        }
    }
}

/// Whether a statement is one of those that only read.
fn only_reads(statement: &Statement) -> bool {
    match statement {
        Statement::Explain(explain) => only_reads(&explain.statement),
        Statement::Statement(inner) => match &**inner {
            SqlStatement::Query(_)
            | SqlStatement::ShowTables { .. }
            | SqlStatement::ShowColumns { .. }
            | SqlStatement::ExplainTable { .. } => true,
            SqlStatement::Explain { statement, .. } => matches!(**statement, SqlStatement::Query(_)),
            _ => false,
        },
        _ => false,
    }
}

/// Names of tables, and what stands as a name before all other arguments of a function of tables.
#[derive(Default)]
struct Mentions(Vec<String>);

impl Mentions {
    fn add(&mut self, name: String) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }
}

impl Visitor for Mentions {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let parts = relation.0.iter().filter_map(|part| part.as_ident());
        let parts: Vec<&str> = parts.map(|ident| ident.value.as_str()).collect();
        self.add(parts.join("."));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let first = match factor {
            TableFactor::Table { args: Some(args), .. } => args.args.first(),
            TableFactor::Function { args, .. } => args.first(),
            _ => None,
        };
        if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) = first {
            match argument {
                Expr::Value(value) => {
                    if let Value::SingleQuotedString(text) = &value.value {
                        self.add(text.clone());
                    }
                }
                Expr::Identifier(ident) => self.add(ident.value.clone()),
                Expr::CompoundIdentifier(parts) => {
                    let parts: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
                    self.add(parts.join("."));
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_its_tables() {
        for (sql, names) in [
            ("select * from a.b join \"c d\" using (x)", &["a.b", "c d"][..]),
            ("select 'ipns://x' from t where y = 'ipns://z'", &["t"]),
            ("select * from 'ipns://k51' as t", &["ipns://k51"]),
            (
                "select * from to_table('ipns://k51', 'head')",
                &["to_table", "ipns://k51"],
            ),
            ("select * from to_table(a.b)", &["to_table", "a.b"]),
            (
                "with w as (select * from t) select * from w where x in (select y from u)",
                &["t", "w", "u"],
            ),
            ("explain select * from t", &["t"]),
        ] {
            let query = Query::all(sql).unwrap().remove(0);
            let mut found = query.mentions();
            found.sort();
            let mut names = names.to_vec();
            names.sort_unstable();
            assert_eq!(found, names, "{sql}");
        }
    }

    #[test]
    fn a_text_of_queries_has_limits() {
        let long = |bytes: usize| format!("select '{}'", "x".repeat(bytes - 9));
        assert_eq!(Query::all(&long(MAX_QUERY_BYTES)).unwrap().len(), 1);
        assert!(matches!(
            Query::all(&long(MAX_QUERY_BYTES + 1)),
            Err(SelectError::TooLong)
        ));
        let many = |count: usize| "select 1;".repeat(count);
        assert_eq!(Query::all(&many(MAX_STEPS)).unwrap().len(), MAX_STEPS);
        assert!(matches!(Query::all(&many(MAX_STEPS + 1)), Err(SelectError::TooLong)));
    }
}
