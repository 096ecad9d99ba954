//! Columns of lists and of objects: columns of their items and members, and what keeps them together.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;

use crate::json;
use crate::source::{Alteration, Problem, Reading};
use odf_tables::types::fits_fixed_lengths;

/// What holds the items of a list, or one member of an object.
pub(super) trait Inner: Sized {
    /// None when it is of a type that the format cannot hold.
    fn of(field: &Field, reading: Reading) -> Option<Self>;

    /// Values so far.
    fn len(&self) -> usize;

    /// A JSON value as written.
    fn push_json(&mut self, raw: &str) -> Result<(), Problem>;

    /// No value.
    fn push_null(&mut self) -> Result<(), Problem>;

    /// A place without a value, be it allowed or not: for the members of an object that is not there itself.
    fn push_nothing(&mut self);

    /// Adds what became of values since it was last asked for.
    fn changes(&mut self, changes: &mut Vec<(Alteration, u64)>);

    /// The values so far as an array, leaving it empty.
    fn finish(&mut self) -> Result<ArrayRef, ArrowError>;
}

/// Lists under construction. All have `length` items if that is given.
pub(super) struct List<C> {
    item: Box<C>,
    field: FieldRef,
    length: Option<i32>,
    offsets: Vec<i32>,
    valid: Vec<bool>,
}

impl<C: Inner> List<C> {
    /// None when the items have a type that the format cannot hold, or the length is too large.
    pub(super) fn new(item: &FieldRef, length: Option<i32>, reading: Reading) -> Option<List<C>> {
        if let Some(length) = length
            && !fits_fixed_lengths(&DataType::FixedSizeList(item.clone(), length))
        {
            return None;
        }
        Some(List {
            item: Box::new(C::of(item, reading)?),
            field: item.clone(),
            length,
            offsets: vec![0],
            valid: Vec::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.valid.len()
    }

    pub(super) fn push_nothing(&mut self) {
        for _ in 0..self.length.unwrap_or(0) {
            self.item.push_nothing();
        }
        self.offsets.push(self.offsets.last().copied().unwrap_or(0));
        self.valid.push(false);
    }

    /// A JSON array as written; false if it has the wrong length.
    pub(super) fn push(&mut self, raw: &str) -> Result<bool, Problem> {
        let items = json::items(raw)?;
        if self
            .length
            .is_some_and(|length| usize::try_from(length) != Ok(items.len()))
        {
            return Ok(false);
        }
        for item in items {
            self.item.push_json(item.get())?;
        }
        let end = i32::try_from(self.item.len()).map_err(|_| Problem::TooLarge {
            limit: i32::MAX.unsigned_abs() as usize,
            unit: "items in the lists of a batch",
            hint: "",
        })?;
        self.offsets.push(end);
        self.valid.push(true);
        Ok(true)
    }

    pub(super) fn changes(&mut self, changes: &mut Vec<(Alteration, u64)>) {
        self.item.changes(changes);
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let items = self.item.finish()?;
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.offsets, vec![0]).into());
        let valid = nulls(std::mem::take(&mut self.valid));
        Ok(match self.length {
            None => Arc::new(ListArray::try_new(self.field.clone(), offsets, items, valid)?),
            Some(length) => Arc::new(FixedSizeListArray::try_new(self.field.clone(), length, items, valid)?),
        })
    }
}

/// Objects under construction.
pub(super) struct Object<C> {
    fields: Fields,
    by_name: HashMap<String, usize>,
    members: Vec<C>,
    valid: Vec<bool>,
}

impl<C: Inner> Object<C> {
    /// None when a member has a type that the format cannot hold.
    pub(super) fn new(fields: &Fields, reading: Reading) -> Option<Object<C>> {
        let members = fields.iter().map(|field: &FieldRef| C::of(field, reading));
        Some(Object {
            by_name: fields
                .iter()
                .enumerate()
                .map(|(at, f)| (f.name().clone(), at))
                .collect(),
            members: members.collect::<Option<Vec<_>>>()?,
            fields: fields.clone(),
            valid: Vec::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.valid.len()
    }

    pub(super) fn push_nothing(&mut self) {
        self.members.iter_mut().for_each(C::push_nothing);
        self.valid.push(false);
    }

    /// A JSON object as written. Members that nobody asked for are passed over.
    pub(super) fn push(&mut self, raw: &str) -> Result<(), Problem> {
        let mut given = vec![false; self.members.len()];
        let pushed = json::members(raw, &mut |key, value| {
            let Some(at) = self.by_name.get(key.as_ref()).copied() else {
                return Ok(());
            };
            let in_member = |problem| (Some(key.to_string()), problem);
            if std::mem::replace(&mut given[at], true) {
                return Err(in_member(Problem::Duplicate));
            }
            self.members[at].push_json(value).map_err(in_member)
        });
        pushed.map_err(|(member, problem)| match member {
            Some(member) => problem.within(&member),
            None => problem,
        })?;
        for (at, given) in given.into_iter().enumerate() {
            if !given {
                let missing = |problem: Problem| problem.within(self.fields[at].name());
                self.members[at].push_null().map_err(missing)?;
            }
        }
        self.valid.push(true);
        Ok(())
    }

    pub(super) fn changes(&mut self, changes: &mut Vec<(Alteration, u64)>) {
        self.members.iter_mut().for_each(|member| member.changes(changes));
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let length = self.valid.len();
        let valid = nulls(std::mem::take(&mut self.valid));
        let members = self.members.iter_mut().map(C::finish).collect::<Result<Vec<_>, _>>()?;
        let array = StructArray::try_new_with_length(self.fields.clone(), members, valid, length)?;
        Ok(Arc::new(array))
    }
}

fn nulls(valid: Vec<bool>) -> Option<NullBuffer> {
    valid.contains(&false).then(|| NullBuffer::from(valid))
}
