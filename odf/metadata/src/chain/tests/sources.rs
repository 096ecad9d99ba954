//! Polling and push sources.

use super::*;

fn read() -> ReadStep {
    ReadStep::Parquet {
        ddl_schema: None,
        schema: None,
    }
}

fn push(name: &str) -> AddPushSource {
    AddPushSource {
        source_name: name.to_owned(),
        read: read(),
        preprocess: None,
        merge: MergeStrategy::Append,
    }
}

fn polling() -> SetPollingSource {
    let url = "http://localhost".to_owned();
    SetPollingSource {
        fetch: FetchStep::Url {
            url,
            event_time: None,
            cache: None,
            headers: None,
        },
        prepare: None,
        read: read(),
        preprocess: None,
        merge: MergeStrategy::Append,
    }
}

#[test]
fn a_dataset_is_either_polled_or_pushed_to() {
    Chain::new()
        .with(push("a"))
        .calls_invalid(polling(), "has push sources");
    Chain::new()
        .with(polling())
        .calls_invalid(push("a"), "has a polling source");
    Chain::new().with(polling()).with(polling());
}

#[test]
fn a_push_source_is_not_defined_twice_the_same_way() {
    let chain = Chain::new().with(push("a"));
    chain.calls_no_op(push("a"));
    let merge = MergeStrategy::Ledger {
        primary_key: vec!["k".to_owned()],
    };
    let chain = chain.with(push("b")).with(AddPushSource {
        merge: merge.clone(),
        ..push("a")
    });
    assert_eq!(chain.0.push_sources.len(), 2);
    assert_eq!(chain.0.push_sources["a"].merge, merge);
    chain.with(push("a"));
}

#[test]
fn sources_are_consistent() {
    let (ddl_schema, schema) = (Some(vec!["a INT".to_owned()]), Some(DataSchema::default()));
    let both = ReadStep::Parquet { ddl_schema, schema };
    Chain::new().calls_invalid(
        AddPushSource {
            read: both.clone(),
            ..push("a")
        },
        "both schema and ddlSchema",
    );
    Chain::new().calls_invalid(
        SetPollingSource {
            read: both,
            ..polling()
        },
        "both schema and ddlSchema",
    );
    let nowhere = FetchStep::EthereumLogs {
        chain_id: None,
        node_url: None,
        filter: None,
        signature: None,
    };
    Chain::new().calls_invalid(
        SetPollingSource {
            fetch: nowhere,
            ..polling()
        },
        "chainId or nodeUrl",
    );
    let somewhere = FetchStep::EthereumLogs {
        chain_id: Some(1),
        node_url: None,
        filter: None,
        signature: None,
    };
    Chain::new().with(SetPollingSource {
        fetch: somewhere,
        ..polling()
    });
}

#[test]
fn sql_is_normalized() {
    let cases: [(Transform, &str); 5] = [
        (sql(Some("select 1"), None), "`query` instead of `queries`"),
        (sql(None, None), "no queries"),
        (sql(None, Some(&[])), "no queries"),
        (sql(None, Some(&[Some("a"), Some("b")])), "the last query has a name"),
        (sql(None, Some(&[None, None])), "a query before the last has no name"),
    ];
    for (transform, said) in cases {
        let preprocess = Some(transform);
        Chain::new().calls_invalid(
            AddPushSource {
                preprocess: preprocess.clone(),
                ..push("a")
            },
            said,
        );
        Chain::new().calls_invalid(
            SetPollingSource {
                preprocess,
                ..polling()
            },
            said,
        );
    }
    let preprocess = Some(sql(None, Some(&[Some("a"), None])));
    Chain::new().with(AddPushSource {
        preprocess,
        ..push("a")
    });
}
