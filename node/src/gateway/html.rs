//! Pages that the gateway makes up itself.

use cid::Cid;

use super::host::Mount;
use super::question::Question;
use crate::percent::{encode, encode_path};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em}\
h1{font-size:1.2em;overflow-wrap:anywhere}table{border-collapse:collapse;width:100%}td{padding:.15em .8em .15em 0}\
td+td{text-align:right;white-space:nowrap}td+td+td,code{font:12px ui-monospace,monospace}\
pre{overflow:auto;background:#8881;padding:1em}";

/// A row of a listing.
pub(super) struct Row<'a> {
    pub(super) name: &'a str,
    /// Bytes of all blocks below the entry.
    pub(super) size: u64,
    pub(super) cid: &'a Cid,
}

/// The listing of a directory. Entries that are not in `rows` are `hidden`.
pub(super) fn listing(question: &Question, cid: &Cid, rows: &[Row<'_>], hidden: bool) -> String {
    let here = here(question);
    let mut body = String::from("<table>\n");
    if !question.inner_path.trim_matches('/').is_empty() {
        body.push_str(&format!(
            "<tr><td><a href=\"{here}/..\">..</a></td><td></td><td></td></tr>\n"
        ));
    }
    for row in rows {
        body.push_str(&format!(
            "<tr><td><a href=\"{here}/{}\">{}</a></td><td>{}</td><td>{}</td></tr>\n",
            encode(row.name),
            escape(row.name),
            size(row.size),
            block_link(question, row),
        ));
    }
    body.push_str("</table>\n");
    if hidden {
        body.push_str(&format!(
            "<p>Only the first {} entries that were found are shown.</p>\n",
            rows.len()
        ));
    }
    page(question, cid, &body)
}

/// A value, written as JSON, with a way into each of its `links`: name within the value, target.
pub(super) fn value(question: &Question, cid: &Cid, json: &str, links: &[(String, Cid)]) -> String {
    let here = here(question);
    let mut body = format!(
        "<pre>{}</pre>\n<p><a href=\"?format=raw\">raw block</a></p>\n",
        escape(json)
    );
    if !links.is_empty() {
        body.push_str("<table>\n");
        for (name, target) in links {
            body.push_str(&format!(
                "<tr><td><a href=\"{here}/{}\">{}</a></td><td></td><td>{target}</td></tr>\n",
                encode(name),
                escape(name)
            ));
        }
        body.push_str("</table>\n");
    }
    page(question, cid, &body)
}

/// The path of the URL of a page, encoded, without a slash at its end.
fn here(question: &Question) -> String {
    let inner = question.inner_path.trim_matches('/');
    let path = match question.mount {
        Mount::Path => question.path.trim_end_matches('/').to_owned(),
        Mount::Subdomain(_) | Mount::Site(_) if inner.is_empty() => String::new(),
        Mount::Subdomain(_) | Mount::Site(_) => format!("/{inner}"),
    };
    encode_path(&path)
}

/// Says what a CID consists of. What stands behind `#` stays in the browser, so that the host is not told which.
const INSPECTOR: &str = "https://cid.ipfs.tech/";

/// An entry under its CID. A site serves nothing by CID: there it leads to the [`INSPECTOR`], as Kubo's listings do, which is not
/// told where the visitor was.
fn block_link(question: &Question, row: &Row<'_>) -> String {
    let cid = row.cid;
    let gateway = match &question.mount {
        Mount::Site(_) => {
            return format!(
                "<a class=\"ipfs-hash\" translate=\"no\" href=\"{INSPECTOR}#{cid}\" target=\"_blank\" \
                 rel=\"noreferrer noopener\">{cid}</a>"
            );
        }
        Mount::Subdomain(gateway) => format!("//{}", escape(gateway)),
        _ => String::new(),
    };
    let name = encode(&encode(row.name));
    format!("<a class=\"ipfs-hash\" translate=\"no\" href=\"{gateway}/ipfs/{cid}?filename={name}\">{cid}</a>")
}

/// The path of a page, each segment of it a link.
fn crumbs(question: &Question) -> String {
    let mut segments = question.path.split('/').filter(|segment| !segment.is_empty());
    let space = segments.next().unwrap_or_default();
    let root = segments.next().unwrap_or_default();
    let (mut at, first) = match &question.mount {
        Mount::Path => (format!("/{space}/{}", encode(root)), ""),
        Mount::Subdomain(gateway) => (format!("//{}/{space}/{}", escape(gateway), encode(root)), ""),
        Mount::Site(host) => (format!("//{}", escape(host)), "/"),
    };
    let mut crumbs = format!("/{space}/<a href=\"{at}{first}\">{}</a>", escape(root));
    for segment in segments {
        at.push_str(&format!("/{}", encode(segment)));
        crumbs.push_str(&format!("/<a href=\"{at}\">{}</a>", escape(segment)));
    }
    crumbs
}

fn page(question: &Question, cid: &Cid, body: &str) -> String {
    let path = escape(&question.path);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{path}</title>\
<style>{STYLE}</style></head>\n<body>\n<h1>Index of {}</h1>\n<p><code>{cid}</code></p>\n{body}</body>\n</html>\n",
        crumbs(question)
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss)] // for one digit after the point
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
