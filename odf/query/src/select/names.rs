//! Which table a name stands for: catalogs, schemas and table functions of the engine over [`Tables`].

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, SchemaProvider, TableFunctionArgs, TableFunctionImpl, TableProvider,
};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;

use super::current::current;
use super::provider::Provider;
use super::read::Read;
use super::reader::Footers;
use super::table::{TableError, Tables};
use crate::sql::CATALOG;

/// What stands between the name of a dataset and a point of its chain.
const AT: char = '@';

/// The names of a session. A table that was found stays the same for the whole of it.
#[derive(Clone)]
pub(super) struct Names(Arc<Inner>);

/// A dataset by name, and its point if it is not meant at its head.
type At = (String, Option<String>);

struct Inner {
    tables: Arc<dyn Tables>,
    footers: Arc<Footers>,
    read: Arc<Read>,
    found: Mutex<HashMap<At, Arc<Provider>>>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    pub(super) fn new(tables: Arc<dyn Tables>, read: Arc<Read>) -> Names {
        Names(Arc::new(Inner {
            tables,
            footers: Arc::default(),
            read,
            found: Mutex::default(),
        }))
    }

    /// The catalogs of the engine. Names with dots need no quotes: the engine takes their parts for a catalog and a schema,
    /// and they are put together again.
    pub(super) fn catalogs(&self) -> Arc<dyn CatalogProviderList> {
        Arc::new(Prefix {
            names: self.clone(),
            parts: Vec::new(),
        })
    }

    /// `to_table('name')`, `to_table('name', 'point')` and `as_of('name', 'point')`.
    pub(super) fn register_functions(&self, context: &SessionContext) {
        for (name, is_current) in [("to_table", true), ("as_of", false)] {
            let names = self.clone();
            context.register_udtf(name, Arc::new(Function { is_current, names }));
        }
    }

    /// The dataset of this name, or before and behind an `@` in it the dataset and its point.
    fn find(&self, name: &str, point: Option<&str>) -> Result<Option<Arc<Provider>>, TableError> {
        if let Some(found) = self.exactly(name, point)? {
            return Ok(Some(found));
        }
        match name.rsplit_once(AT) {
            Some((name, at)) if point.is_none() => self.exactly(name, Some(at)),
            _ => Ok(None),
        }
    }

    fn exactly(&self, name: &str, point: Option<&str>) -> Result<Option<Arc<Provider>>, TableError> {
        let key: At = (name.to_owned(), point.map(str::to_owned));
        let found = |inner: &Inner| {
            inner
                .found
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&key)
                .cloned()
        };
        if let Some(found) = found(&self.0) {
            return Ok(Some(found));
        }
        let Some(table) = self.0.tables.find(name, point)? else {
            return Ok(None);
        };
        let provider = Arc::new(Provider::new(table, self.0.footers.clone(), self.0.read.clone()));
        let mut all = self.0.found.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(all.entry(key).or_insert(provider).clone()))
    }
}

fn outside(error: TableError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The beginning of a name with dots. It is a list of catalogs, a catalog and a schema in one.
#[derive(Debug, Clone)]
struct Prefix {
    names: Names,
    parts: Vec<String>,
}

impl Prefix {
    /// The engine's own names for where a name without dots is are no part of it.
    fn with(&self, part: &str) -> Arc<Prefix> {
        let mut parts = self.parts.clone();
        if part != CATALOG || !self.parts.is_empty() {
            parts.push(part.to_owned());
        }
        Arc::new(Prefix {
            names: self.names.clone(),
            parts,
        })
    }
}

impl CatalogProviderList for Prefix {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        Some(self.with(name))
    }
}

impl CatalogProvider for Prefix {
    fn schema_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        Some(self.with(name))
    }
}

#[async_trait]
impl SchemaProvider for Prefix {
    fn table_names(&self) -> Vec<String> {
        self.names.0.tables.names().unwrap_or_default()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let mut parts = self.parts.clone();
        parts.push(name.to_owned());
        let found = self.names.find(&parts.join("."), None).map_err(outside)?;
        Ok(found.map(|provider| provider as Arc<dyn TableProvider>))
    }

    async fn table_type(&self, _: &str) -> Result<Option<TableType>> {
        Ok(Some(TableType::Base))
    }

    fn table_exist(&self, _: &str) -> bool {
        true
    }
}

/// A table function over a dataset.
#[derive(Debug)]
struct Function {
    /// Its current state; else all rows as they came.
    is_current: bool,
    names: Names,
}

impl TableFunctionImpl for Function {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let texts: Option<Vec<String>> = args.exprs().iter().map(text).collect();
        let (name, point) = match texts.as_deref() {
            Some([name]) if self.is_current => (name, None),
            Some([name, point]) => (name, Some(point.as_str())),
            _ if self.is_current => {
                return plan_err!(
                    "to_table takes the name of a dataset, and a block or time if it is not meant at its head"
                );
            }
            _ => return plan_err!("as_of takes the name of a dataset and a block (its number or hash) or a time"),
        };
        let found = self.names.find(name, point).map_err(outside)?;
        match found {
            Some(provider) if self.is_current => current(provider),
            Some(provider) => Ok(provider),
            None => plan_err!("table '{name}' not found"),
        }
    }
}

/// A name, or a number, that an argument of a table function is.
fn text(argument: &Expr) -> Option<String> {
    match argument {
        Expr::Literal(ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text), _) => {
            text.clone()
        }
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => Some(number.to_string()),
        Expr::Column(column) => Some(column.flat_name()),
        _ => None,
    }
}
