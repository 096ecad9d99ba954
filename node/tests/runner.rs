//! The tests of `odf-node` as somebody who embeds it sees it: one binary, one module a file.

mod examples;
