//! Pages that the gateway makes up itself.

use cid::Cid;

use super::question::encode;

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

/// The listing of a directory. `path` ends with a slash. Entries that are not in `rows` are `hidden`.
pub(super) fn listing(path: &str, cid: &Cid, rows: &[Row<'_>], hidden: bool) -> String {
    let mut body = String::from("<table>\n");
    if path.matches('/').count() > 3 {
        body.push_str("<tr><td><a href=\"../\">..</a></td><td></td><td></td></tr>\n");
    }
    for row in rows {
        body.push_str(&format!(
            "<tr><td><a href=\"./{}\">{}</a></td><td>{}</td><td><a href=\"/ipfs/{cid}\">{cid}</a></td></tr>\n",
            encode(row.name),
            escape(row.name),
            size(row.size),
            cid = row.cid
        ));
    }
    body.push_str("</table>\n");
    if hidden {
        body.push_str(&format!(
            "<p>Only the first {} entries that were found are shown.</p>\n",
            rows.len()
        ));
    }
    page(path, cid, &body)
}

/// A value, written as JSON, with a way into each of its `links`: name within the value, target.
pub(super) fn value(path: &str, cid: &Cid, json: &str, links: &[(String, Cid)]) -> String {
    let mut body = format!(
        "<pre>{}</pre>\n<p><a href=\"?format=raw\">raw block</a></p>\n",
        escape(json)
    );
    if !links.is_empty() {
        let base = path
            .trim_end_matches('/')
            .split('/')
            .map(encode)
            .collect::<Vec<_>>()
            .join("/");
        body.push_str("<table>\n");
        for (name, target) in links {
            let href = format!("{base}/{}", encode(name));
            body.push_str(&format!(
                "<tr><td><a href=\"{href}\">{}</a></td><td></td><td>{target}</td></tr>\n",
                escape(name)
            ));
        }
        body.push_str("</table>\n");
    }
    page(path, cid, &body)
}

fn page(path: &str, cid: &Cid, body: &str) -> String {
    let path = escape(path);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{path}</title>\
<style>{STYLE}</style></head>\n<body>\n<h1>{path}</h1>\n<p><code>{cid}</code></p>\n{body}</body>\n</html>\n"
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
