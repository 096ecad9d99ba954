//! Which queries need all rows of their inputs, and where they say so.

use super::*;

/// What of a query over the inputs `input` and `other` needs all rows.
fn gathering(steps: &[(Option<&str>, &str)]) -> Option<Gathering> {
    let inputs = vec![(INPUT.to_owned(), numbers()), ("other".to_owned(), numbers())];
    let query = Query::plan(&transform(ENGINE, steps), inputs, now()).unwrap();
    query.gathering().cloned()
}

#[test]
fn queries_over_single_rows_are_known() {
    for query in [
        "select * from input",
        "select n * 2 as n, upper(Name) as Name, now() as t from input where n > 3 and Name like 'name%'",
        "select n, case when n in (1, 2) then 'few' else 'many' end as c from input as i",
        "select n from input union all select n + 1 from other where n < 10",
        "with few as (select n from input where n < 9) select n from few union all select n from few",
        "select x.n from (select n from input) as x",
        "select unnest(make_array(n, n + 1)) as n from input",
        // The same rows, whatever came when.
        "select n from input order by n desc",
        "select n from input where false",
    ] {
        assert_eq!(gathering(&[(None, query)]), None, "{query}");
    }
    let steps = [
        (Some("even"), "select n from input where n % 2 = 0"),
        (None, "select n from even"),
    ];
    assert_eq!(gathering(&steps), None);
}

#[test]
fn what_needs_all_rows_is_named_with_its_place() {
    // The query, what is found in it, and the word (the last of its kind) that stands where it is said to be.
    let cases = [
        ("select a.n from input a\njoin other b on a.n = b.n", "a JOIN", "join"),
        (
            "select a.n from input a left join other b on a.n = b.n",
            "a JOIN",
            "join",
        ),
        ("select input.n from input, other", "several tables in FROM", "from"),
        (
            "select n from input intersect select n from other",
            "INTERSECT",
            "intersect",
        ),
        ("select n from input except all select n from other", "EXCEPT", "except"),
        ("select Name, sum(n) as s from input group by Name", "GROUP BY", "group"),
        (
            "select Name from input group by Name having count(*) > 1",
            "GROUP BY",
            "group",
        ),
        ("select max(n) as n from input", "`max`", "max"),
        ("select count(distinct n) as n from input", "`count`", "count"),
        ("select distinct n from input", "DISTINCT", "distinct"),
        (
            "select distinct on (Name) n from input order by Name, n",
            "DISTINCT",
            "distinct",
        ),
        (
            "select n from input union select n from other",
            "UNION without ALL",
            "union",
        ),
        (
            "select n, row_number() over (order by n) as r from input",
            "a window function",
            "over",
        ),
        (
            "select lag(n) over (order by n) as n from input",
            "a window function",
            "over",
        ),
        ("select n from input order by n\n  limit 3", "LIMIT", "limit"),
        ("select n from input offset 3", "OFFSET", "offset"),
        (
            "select n from input where n in (select n from other)",
            "a subquery",
            "select",
        ),
        (
            "select n from input where exists (select 1 from other where other.n = input.n)",
            "a subquery",
            "select",
        ),
        (
            "select n, (select max(n) from other) as m from input",
            "a subquery",
            "select",
        ),
        (
            "select n from (select n from input) x where n > (select min(n) from other)",
            "a subquery",
            "select",
        ),
        (
            "with recursive r as (select n from input union all select n + 1 from r where n < 9) select n from r",
            "WITH RECURSIVE",
            "recursive",
        ),
        (
            "select n from input union all values (1)",
            "rows that come from no input",
            "values",
        ),
        (
            "select n from input union all select 7",
            "rows that come from no input",
            "",
        ),
        (
            "select value as n from generate_series(1, 3)",
            "rows that come from no input",
            "",
        ),
        // Neither a text nor a name is the word.
        (
            "select n as \"limit\", ' limit ' as j from input limit 1",
            "LIMIT",
            "limit",
        ),
        // Below what is harmless.
        (
            "select x.n + 1 as n from (select n from input where n > 1 limit 2) x",
            "LIMIT",
            "limit",
        ),
    ];
    for (query, construct, word) in cases {
        let found = gathering(&[(None, query)]).unwrap_or_else(|| panic!("{query}"));
        assert!(found.construct.contains(construct), "{query}: {found}");
        let place = query.rfind(word).filter(|_| !word.is_empty()).map(|at| {
            let before = &query[..at];
            let line = before.rfind('\n').map_or(0, |end| end + 1);
            (before.matches('\n').count() as u64 + 1, (at - line) as u64 + 1)
        });
        assert_eq!(found.place, place, "{query}: {found}");
        assert_eq!(found.step, "the query", "{query}");
    }
}

#[test]
fn the_first_step_that_needs_all_rows_is_named() {
    let steps = [
        (Some("few"), "select n from input where n < 9"),
        (Some("sums"), "select sum(n) as n from few"),
        (None, "select n from sums limit 1"),
    ];
    let found = gathering(&steps).unwrap();
    assert_eq!(
        found.to_string(),
        "the query `sums` has the aggregate function `sum` (line 1, column 8)"
    );
}
