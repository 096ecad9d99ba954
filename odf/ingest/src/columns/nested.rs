//! Columns of lists and of objects: columns of their items and members, and what keeps them together.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use arrow::error::ArrowError;

use super::{Column, Reading};
use crate::json;
use crate::source::Problem;

/// The most values that a list of a fixed length may have, those of lists within it included: one that is missing takes as
/// much room as one that is there.
const MAX_FIXED_LENGTH: u64 = 65_536;

/// How many values a place of this type takes, even if nothing is there.
fn values(data_type: &DataType) -> u64 {
    match data_type {
        DataType::FixedSizeList(item, length) => {
            let length = u64::try_from(*length).unwrap_or(u64::MAX);
            length.saturating_mul(values(item.data_type()))
        }
        DataType::Struct(fields) => fields
            .iter()
            .fold(0, |sum, f| values(f.data_type()).saturating_add(sum)),
        _ => 1,
    }
}

/// Lists under construction. All have `length` items if that is given.
pub(super) struct List {
    item: Box<Column>,
    field: FieldRef,
    length: Option<i32>,
    offsets: Vec<i32>,
    valid: Vec<bool>,
}

impl List {
    /// None when the items have a type that the format cannot hold, or the length is too large.
    pub(super) fn new(item: &FieldRef, length: Option<i32>, reading: Reading) -> Option<List> {
        if let Some(length) = length
            && values(&DataType::FixedSizeList(item.clone(), length)) > MAX_FIXED_LENGTH
        {
            return None;
        }
        Some(List {
            item: Box::new(Column::new(item, false, reading)?),
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
pub(super) struct Struct {
    fields: Fields,
    by_name: HashMap<String, usize>,
    members: Vec<Column>,
    valid: Vec<bool>,
}

impl Struct {
    /// None when a member has a type that the format cannot hold.
    pub(super) fn new(fields: &Fields, reading: Reading) -> Option<Struct> {
        let members = fields
            .iter()
            .map(|field: &Arc<Field>| Column::new(field, false, reading));
        Some(Struct {
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
        self.members.iter_mut().for_each(Column::push_nothing);
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
            Some(member) => within(&member, problem),
            None => problem,
        })?;
        for (at, given) in given.into_iter().enumerate() {
            if !given {
                let missing = |problem| within(self.fields[at].name(), problem);
                self.members[at].push_null().map_err(missing)?;
            }
        }
        self.valid.push(true);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let length = self.valid.len();
        let valid = nulls(std::mem::take(&mut self.valid));
        let members = self
            .members
            .iter_mut()
            .map(Column::finish)
            .collect::<Result<Vec<_>, _>>()?;
        let array = StructArray::try_new_with_length(self.fields.clone(), members, valid, length)?;
        Ok(Arc::new(array))
    }
}

fn within(member: &str, problem: Problem) -> Problem {
    Problem::Within {
        member: member.to_owned(),
        problem: Box::new(problem),
    }
}

fn nulls(valid: Vec<bool>) -> Option<NullBuffer> {
    valid.contains(&false).then(|| NullBuffer::from(valid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_lengths_have_a_limit_however_they_are_nested() {
        let list = |item: DataType, length| DataType::FixedSizeList(Arc::new(Field::new("item", item, true)), length);
        let reading = Reading {
            lax: true,
            nested: true,
        };
        let made = |data_type| Column::new(&Field::new("x", data_type, true), false, reading).is_some();
        assert!(made(list(DataType::Int8, 65_536)));
        assert!(!made(list(DataType::Int8, 65_537)));
        assert!(!made(list(DataType::Int8, -1)));
        assert!(made(list(list(DataType::Int8, 256), 256)));
        assert!(!made(list(list(DataType::Int8, 256), 257)));
        let pair = DataType::Struct(
            vec![
                Field::new("a", DataType::Int8, true),
                Field::new("b", DataType::Int8, true),
            ]
            .into(),
        );
        assert!(!made(list(pair, 65_536)));
    }
}
