//! Every rule of a chain and the test that breaks it. A new rule gets a line and a test.

/// Rule, file below `odf/src`, test.
const RULES: [(&str, &str, &str); 44] = [
    (
        "bytes have the hash they were asked for by",
        CODEC,
        "a_block_is_known_by_its_hash",
    ),
    (
        "a chain begins with a Seed, number 0, after nothing",
        CHAIN,
        "the_first_block_is_a_seed",
    ),
    ("a Seed comes only first", CHAIN, "a_seed_comes_only_first"),
    (
        "a block follows the head",
        CHAIN,
        "blocks_follow_the_head_in_number_and_time",
    ),
    (
        "a number is one more than that before",
        CHAIN,
        "blocks_follow_the_head_in_number_and_time",
    ),
    (
        "a time is not before that before",
        CHAIN,
        "blocks_follow_the_head_in_number_and_time",
    ),
    (
        "a chain does not outgrow its numbers",
        CHAIN,
        "a_chain_that_cannot_grow_says_so",
    ),
    (
        "the head has not moved meanwhile",
        DATASET,
        "writers_do_not_overwrite_each_other",
    ),
    (
        "a watermark stays and does not go back",
        CHAIN,
        "watermarks_never_go_back",
    ),
    ("rows begin behind the last offset", CHAIN, "offsets_are_sequential"),
    ("offsets do not run backwards", CHAIN, "offsets_are_sequential"),
    (
        "prevOffset is the last offset",
        CHAIN,
        "offsets_are_carried_over_events_without_data",
    ),
    (
        "prevOffset is carried from the first event on",
        CHAIN,
        "offsets_are_carried_from_the_first_event_on",
    ),
    ("AddData: rows need a schema", CHAIN, "data_needs_a_schema"),
    ("AddData: checkpoints are chained", CHAIN, "checkpoints_are_chained"),
    (
        "AddData: checkpoints are those of AddData",
        CHAIN,
        "rows_added_and_rows_computed_have_checkpoints_of_their_own",
    ),
    (
        "AddData: it holds something",
        CHAIN,
        "an_add_data_that_says_nothing_new_is_a_no_op",
    ),
    (
        "AddData: something moves on",
        CHAIN,
        "an_add_data_that_says_nothing_new_is_a_no_op",
    ),
    (
        "ExecuteTransform: it holds something",
        TRANSFORM,
        "a_run_that_says_nothing_new_is_a_no_op",
    ),
    (
        "ExecuteTransform: something moves on",
        TRANSFORM,
        "a_run_that_says_nothing_new_is_a_no_op",
    ),
    (
        "ExecuteTransform: a SetTransform is there",
        TRANSFORM,
        "a_run_needs_a_transform_and_a_schema",
    ),
    (
        "ExecuteTransform: rows need a schema",
        TRANSFORM,
        "a_run_needs_a_transform_and_a_schema",
    ),
    (
        "ExecuteTransform: inputs are those of SetTransform",
        TRANSFORM,
        "inputs_are_those_declared_in_their_order",
    ),
    (
        "ExecuteTransform: inputs are those of before",
        TRANSFORM,
        "inputs_are_those_declared_in_their_order",
    ),
    (
        "ExecuteTransform: prevBlockHash is where it stopped",
        TRANSFORM,
        "inputs_go_on_where_they_stopped",
    ),
    (
        "ExecuteTransform: prevOffset is where it stopped",
        TRANSFORM,
        "inputs_go_on_where_they_stopped",
    ),
    (
        "ExecuteTransform: newBlockHash is another",
        TRANSFORM,
        "inputs_go_on_where_they_stopped",
    ),
    (
        "ExecuteTransform: newOffset is another",
        TRANSFORM,
        "inputs_go_on_where_they_stopped",
    ),
    (
        "ExecuteTransform: newOffset comes with newBlockHash",
        TRANSFORM,
        "inputs_go_on_where_they_stopped",
    ),
    (
        "ExecuteTransform: checkpoints are chained",
        TRANSFORM,
        "checkpoints_of_runs_are_chained",
    ),
    (
        "ExecuteTransform: watermark and offsets",
        TRANSFORM,
        "watermarks_and_offsets_of_runs_are_checked",
    ),
    (
        "a source is polled or pushed to",
        SOURCES,
        "a_dataset_is_either_polled_or_pushed_to",
    ),
    (
        "AddPushSource: it says something new",
        SOURCES,
        "a_push_source_is_not_defined_twice_the_same_way",
    ),
    ("EthereumLogs has a chain or a node", SOURCES, "sources_are_consistent"),
    ("a read step has one schema", SOURCES, "sources_are_consistent"),
    ("SQL is normalized", SOURCES, "sql_is_normalized"),
    (
        "Disable*: not in a chain",
        CHAIN,
        "events_that_kamu_cannot_validate_are_refused",
    ),
    (
        "SetTransform: inputs, once each, resolved, named",
        TRANSFORM,
        "a_transform_has_resolved_inputs_once_each",
    ),
    (
        "SetDataSchema: it says something new",
        EVOLUTION,
        "the_same_schema_is_a_no_op",
    ),
    (
        "SetDataSchema: attributes, order, optional fields",
        EVOLUTION,
        "attributes_order_and_optional_fields_may_change",
    ),
    (
        "SetDataSchema: nothing removed, retyped, required",
        EVOLUTION,
        "what_old_rows_would_not_survive_is_refused",
    ),
    ("SetDataSchema: maps stay", EVOLUTION, "nothing_changes_within_a_map"),
    (
        "SetDataSchema: the legacy form",
        EVOLUTION,
        "the_legacy_form_does_not_say_what_is_optional",
    ),
    ("Set*: the last one counts", CHAIN, "the_state_knows_what_was_set_last"),
];

const CHAIN: &str = include_str!("../tests.rs");
const TRANSFORM: &str = include_str!("transform.rs");
const SOURCES: &str = include_str!("sources.rs");
const EVOLUTION: &str = include_str!("evolution.rs");
const CODEC: &str = include_str!("../../codec/tests.rs");
const DATASET: &str = include_str!("../../../../dataset/src/dataset/tests.rs");

#[test]
fn every_rule_has_a_test_that_breaks_it() {
    for (rule, source, test) in RULES {
        assert!(
            source.contains(&format!("fn {test}()")),
            "{rule}: there is no test {test}"
        );
    }
}
