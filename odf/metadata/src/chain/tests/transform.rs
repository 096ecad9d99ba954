//! Derivative datasets.

use super::*;

fn input(byte: u8, alias: &str) -> TransformInput {
    TransformInput {
        dataset_ref: id(byte).to_string(),
        alias: Some(alias.to_owned()),
    }
}

fn transform(inputs: Vec<TransformInput>) -> SetTransform {
    SetTransform {
        inputs,
        transform: sql(None, Some(&[None])),
    }
}

fn derivative() -> Chain {
    let seed = encoded(seed_block(DatasetKind::Derivative));
    Chain(ChainState::begin(&seed).unwrap())
        .with(transform(vec![input(2, "two"), input(3, "three")]))
        .with(schema())
}

fn read(
    byte: u8,
    (prev_block, prev_offset): (Option<&str>, Option<u64>),
    (new_block, new_offset): (Option<&str>, Option<u64>),
) -> ExecuteTransformInput {
    ExecuteTransformInput {
        dataset_id: id(byte),
        prev_block_hash: prev_block.map(hash),
        new_block_hash: new_block.map(hash),
        prev_offset,
        new_offset,
    }
}

fn execute(two: ExecuteTransformInput, three: ExecuteTransformInput) -> ExecuteTransform {
    ExecuteTransform {
        query_inputs: vec![two, three],
        prev_checkpoint: None,
        prev_offset: None,
        new_data: None,
        new_checkpoint: None,
        new_watermark: Some(time(5)),
    }
}

/// The first run: both inputs read to block `b`, the second without rows.
fn first() -> ExecuteTransform {
    let two = read(2, (None, None), (Some("b"), Some(9)));
    let three = read(3, (None, None), (Some("b"), None));
    ExecuteTransform {
        new_data: slice(0, 4),
        new_checkpoint: checkpoint("one"),
        ..execute(two, three)
    }
}

/// A second run that reads nothing new from `three`.
fn second(two: ExecuteTransformInput, three: ExecuteTransformInput) -> ExecuteTransform {
    ExecuteTransform {
        prev_checkpoint: Some(hash("one")),
        prev_offset: Some(4),
        new_data: slice(5, 6),
        ..execute(two, three)
    }
}

fn two() -> ExecuteTransformInput {
    read(2, (Some("b"), Some(9)), (Some("c"), Some(12)))
}

fn three() -> ExecuteTransformInput {
    read(3, (Some("b"), None), (None, None))
}

#[test]
fn runs_follow_one_another() {
    let chain = derivative().with(first()).with(second(two(), three()));
    assert_eq!(chain.0.next_offset(), 7);
    assert_eq!(chain.0.last_computed.unwrap().checkpoint, None);
    let again = ExecuteTransform {
        prev_checkpoint: None,
        prev_offset: Some(6),
        ..second(
            read(2, (Some("c"), Some(12)), (None, None)),
            read(3, (Some("b"), None), (Some("d"), Some(0))),
        )
    };
    chain.with(ExecuteTransform {
        new_data: slice(7, 7),
        ..again
    });
}

#[test]
fn a_run_needs_a_transform_and_a_schema() {
    let seed = || Chain(ChainState::begin(&encoded(seed_block(DatasetKind::Derivative))).unwrap());
    seed().with(schema()).calls_invalid(first(), "no SetTransform before");
    seed()
        .with(transform(vec![input(2, "a"), input(3, "b")]))
        .calls_invalid(first(), "no SetDataSchema before");
}

#[test]
fn inputs_are_those_declared_in_their_order() {
    let swapped = |mut event: ExecuteTransform| {
        event.query_inputs.reverse();
        event
    };
    let shortened = |mut event: ExecuteTransform| {
        event.query_inputs.pop();
        event
    };
    for spoil in [swapped, shortened] {
        derivative().calls_invalid(spoil(first()), "not those of SetTransform");
        derivative()
            .with(first())
            .calls_invalid(spoil(second(two(), three())), "not those of SetTransform");
    }
    let mut other = derivative().with(first());
    other
        .try_add(transform(vec![input(2, "two"), input(4, "four")]))
        .unwrap();
    let four = read(4, (None, None), (Some("b"), None));
    other.calls_invalid(second(two(), four), "not those of the ExecuteTransform before");
}

#[test]
fn inputs_go_on_where_they_stopped() {
    let chain = derivative().with(first());
    let refused = |two, three, said: &str| chain.calls_invalid(second(two, three), said);
    refused(
        read(2, (Some("x"), Some(9)), (Some("c"), Some(12))),
        three(),
        "prevBlockHash is not the last",
    );
    refused(
        read(2, (None, Some(9)), (Some("c"), Some(12))),
        three(),
        "prevBlockHash is not the last",
    );
    refused(
        read(2, (Some("b"), Some(8)), (Some("c"), Some(12))),
        three(),
        "prevOffset is not the last",
    );
    refused(
        two(),
        read(3, (Some("b"), Some(0)), (None, None)),
        "prevOffset is not the last",
    );
    refused(
        read(2, (Some("b"), Some(9)), (Some("b"), Some(12))),
        three(),
        "newBlockHash equals prevBlockHash",
    );
    refused(
        read(2, (Some("b"), Some(9)), (Some("c"), Some(9))),
        three(),
        "newOffset equals prevOffset",
    );
    refused(
        two(),
        read(3, (Some("b"), None), (None, Some(1))),
        "newOffset without newBlockHash",
    );
}

#[test]
fn a_run_that_says_nothing_new_is_a_no_op() {
    let nothing = ExecuteTransform {
        new_watermark: None,
        ..execute(two(), three())
    };
    derivative().calls_no_op(nothing);
    let idle = read(2, (Some("b"), Some(9)), (None, None));
    let still = ExecuteTransform {
        new_data: None,
        new_checkpoint: checkpoint("one"),
        ..second(idle, three())
    };
    let chain = derivative().with(first());
    chain.calls_no_op(still.clone());
    let moved = ExecuteTransform {
        query_inputs: vec![two(), three()],
        ..still
    };
    chain.with(moved);
}

#[test]
fn checkpoints_of_runs_are_chained() {
    let chain = derivative().with(first());
    chain.calls_invalid(
        ExecuteTransform {
            prev_checkpoint: None,
            ..second(two(), three())
        },
        "prevCheckpoint",
    );
}

#[test]
fn watermarks_and_offsets_of_runs_are_checked() {
    let chain = derivative().with(first());
    let rule = ChainRule::WatermarkIsNotMonotonic {
        previous: time(5),
        found: None,
    };
    chain.refuses(
        ExecuteTransform {
            new_watermark: None,
            ..second(two(), three())
        },
        rule,
    );
    let rule = ChainRule::OffsetsAreNotSequential { expected: 5, found: 6 };
    chain.refuses(
        ExecuteTransform {
            new_data: slice(6, 6),
            ..second(two(), three())
        },
        rule,
    );
}

#[test]
fn a_transform_has_resolved_inputs_once_each() {
    let chain = Chain::new();
    chain.calls_invalid(transform(Vec::new()), "no inputs");
    chain.calls_invalid(transform(vec![input(2, "a"), input(2, "b")]), "appears twice");
    let named = TransformInput {
        dataset_ref: "weather".to_owned(),
        alias: Some("w".to_owned()),
    };
    chain.calls_invalid(transform(vec![named]), "`weather` is not resolved");
    chain.calls_invalid(
        transform(vec![TransformInput {
            alias: None,
            ..input(2, "a")
        }]),
        "has no alias",
    );
    let raw = SetTransform {
        transform: sql(Some("select 1"), None),
        ..transform(vec![input(2, "a")])
    };
    chain.calls_invalid(raw, "not normalized");
}
