//! HTTP gateway: /ipfs and /ipns paths, ranges, directories, raw blocks.
