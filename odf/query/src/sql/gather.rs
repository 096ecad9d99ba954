//! Whether a query maps rows one by one, or has to see them all.
//!
//! A query that is run over new rows only gives what it would give over all rows if every row of its result comes from one
//! row of an input. What is known to be so is let through, and nothing else.

use std::any::Any;
use std::fmt;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::feed::Input;

/// A part of a query that needs all rows of its inputs at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathering {
    /// The step of the transform that it stands in, in words.
    pub step: String,
    /// What it is, in words.
    pub construct: String,
    /// Line and column in the query, from 1, if they can be told.
    pub place: Option<(u64, u64)>,
}

impl fmt::Display for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has {}", self.step, self.construct)?;
        match self.place {
            Some((line, column)) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

/// The first part of a step's plan that is not a matter of single rows. The plans of earlier steps, which stand in this one
/// as views, are looked at too: they were looked at before.
pub(super) fn find(step: &str, sql: &str, plan: &LogicalPlan) -> Option<Gathering> {
    let mut found = None;
    let looked = plan.apply(|node| {
        found = node_of(node);
        Ok(match found {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    });
    // Looking cannot fail. If it did, the query would not be known to be harmless.
    if looked.is_err() {
        found = Some(Kind::Other("a part that cannot be looked into".to_owned()));
    }
    found.map(|kind| kind.describe(step, &words(sql)))
}

/// What needs all rows.
enum Kind {
    Join,
    Group,
    Aggregate(String),
    Distinct,
    Union,
    Window,
    Limit,
    Recursive,
    Subquery,
    OwnRows,
    Other(String),
}

/// What is wrong with one node of a plan, its inputs left aside.
fn node_of(node: &LogicalPlan) -> Option<Kind> {
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Unnest(_) => with_subquery(node).then_some(Kind::Subquery),
        LogicalPlan::Sort(sort) => match sort.fetch {
            None => with_subquery(node).then_some(Kind::Subquery),
            Some(_) => Some(Kind::Limit),
        },
        LogicalPlan::TableScan(scan) => {
            let is_input =
                source_as_provider(&scan.source).is_ok_and(|table| (table.as_ref() as &dyn Any).is::<Input>());
            match (is_input, scan.fetch) {
                (true, None) => None,
                (true, Some(_)) => Some(Kind::Limit),
                (false, _) => Some(Kind::OwnRows),
            }
        }
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row.then_some(Kind::OwnRows),
        LogicalPlan::Values(_) => Some(Kind::OwnRows),
        LogicalPlan::Join(_) => Some(Kind::Join),
        LogicalPlan::Aggregate(aggregate) => Some(match aggregate.aggr_expr.first() {
            Some(first) if aggregate.group_expr.is_empty() => Kind::Aggregate(function(first)),
            _ => Kind::Group,
        }),
        LogicalPlan::Distinct(distinct) => Some(match distinct.input().as_ref() {
            LogicalPlan::Union(_) => Kind::Union,
            _ => Kind::Distinct,
        }),
        LogicalPlan::Window(_) => Some(Kind::Window),
        LogicalPlan::Limit(_) => Some(Kind::Limit),
        LogicalPlan::RecursiveQuery(_) => Some(Kind::Recursive),
        LogicalPlan::Subquery(_) => Some(Kind::Subquery),
        other => {
            let text = other.display().to_string();
            let name = text.split([':', ' ']).next().unwrap_or_default();
            Some(Kind::Other(format!("a part ({name}) that is no selection of rows")))
        }
    }
}

fn with_subquery(node: &LogicalPlan) -> bool {
    let is_query = |expr: &Expr| {
        Ok(matches!(
            expr,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::ScalarSubquery(_)
                | Expr::OuterReferenceColumn(..)
        ))
    };
    // An expression that cannot be looked into is not known to be harmless.
    node.expressions()
        .iter()
        .any(|expr| expr.exists(is_query).unwrap_or(true))
}

/// The name of the function in an expression.
fn function(expr: &Expr) -> String {
    match expr {
        Expr::AggregateFunction(call) => call.func.name().to_owned(),
        Expr::Alias(alias) => function(&alias.expr),
        other => other.schema_name().to_string(),
    }
}

impl Kind {
    /// In words, and where in the text it stands. A plan does not say that: the word that stands for it is looked for.
    fn describe(self, step: &str, words: &[TokenWithSpan]) -> Gathering {
        let first = |wanted: Keyword| place(words, |_, word| word.keyword == wanted);
        let one_of = |choices: &[(Keyword, &str)], otherwise: &str| {
            let found = choices
                .iter()
                .find_map(|(keyword, name)| first(*keyword).map(|at| ((*name).to_owned(), Some(at))));
            found.unwrap_or_else(|| (otherwise.to_owned(), None))
        };
        let (construct, place) = match self {
            Kind::Join => one_of(
                &[
                    (Keyword::JOIN, "a JOIN"),
                    (Keyword::INTERSECT, "INTERSECT"),
                    (Keyword::EXCEPT, "EXCEPT"),
                    (Keyword::FROM, "several tables in FROM, which is a JOIN"),
                ],
                "a JOIN",
            ),
            Kind::Group => one_of(
                &[(Keyword::GROUP, "GROUP BY"), (Keyword::DISTINCT, "DISTINCT")],
                "GROUP BY",
            ),
            Kind::Aggregate(name) => {
                let at = place(words, |_, word| word.value.eq_ignore_ascii_case(&name));
                (format!("the aggregate function `{name}`"), at)
            }
            Kind::Distinct => one_of(
                &[
                    (Keyword::DISTINCT, "DISTINCT"),
                    (Keyword::INTERSECT, "INTERSECT"),
                    (Keyword::EXCEPT, "EXCEPT"),
                ],
                "DISTINCT",
            ),
            Kind::Union => ("UNION without ALL".to_owned(), first(Keyword::UNION)),
            Kind::Window => ("a window function".to_owned(), first(Keyword::OVER)),
            Kind::Limit => one_of(
                &[
                    (Keyword::LIMIT, "LIMIT"),
                    (Keyword::OFFSET, "OFFSET"),
                    (Keyword::FETCH, "FETCH"),
                ],
                "LIMIT",
            ),
            Kind::Recursive => ("WITH RECURSIVE".to_owned(), first(Keyword::RECURSIVE)),
            Kind::Subquery => ("a subquery in an expression".to_owned(), subquery(words)),
            Kind::OwnRows => (
                "rows that come from no input, which every run would add again".to_owned(),
                first(Keyword::VALUES),
            ),
            Kind::Other(what) => (what, None),
        };
        Gathering {
            step: step.to_owned(),
            construct,
            place,
        }
    }
}

/// The words and signs of a query, without space and comments.
fn words(sql: &str) -> Vec<TokenWithSpan> {
    // It was understood before; if not, there is no place to tell.
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    let mut tokens = tokens.unwrap_or_default();
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    tokens
}

/// Where the first word stands that is not quoted and is wanted.
fn place(
    words: &[TokenWithSpan],
    wanted: impl Fn(usize, &datafusion::sql::sqlparser::tokenizer::Word) -> bool,
) -> Option<(u64, u64)> {
    let found = words.iter().enumerate().find(|(at, token)| match &token.token {
        Token::Word(word) if word.quote_style.is_none() => wanted(*at, word),
        _ => false,
    })?;
    Some((found.1.span.start.line, found.1.span.start.column))
}

/// Where the first SELECT in brackets stands that is no table.
fn subquery(words: &[TokenWithSpan]) -> Option<(u64, u64)> {
    const TABLES: [Keyword; 4] = [Keyword::FROM, Keyword::AS, Keyword::JOIN, Keyword::ALL];
    let before = |at: usize, by: usize| {
        at.checked_sub(by)
            .and_then(|at| words.get(at))
            .map(|token| &token.token)
    };
    place(words, |at, word| {
        let is_table = matches!(before(at, 2), Some(Token::Word(word)) if TABLES.contains(&word.keyword));
        word.keyword == Keyword::SELECT && before(at, 1) == Some(&Token::LParen) && !is_table
    })
}
