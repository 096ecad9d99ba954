//! The files of the store use each other one way only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

fn uses(text: &str, files: &BTreeSet<String>) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let blocks = code.split("use super::").skip(1);
    let named = blocks.flat_map(|block| {
        let block = block.split(';').next().unwrap_or(block);
        block.split(|c: char| !(c.is_alphanumeric() || c == '_'))
    });
    named.filter(|name| files.contains(*name)).map(str::to_owned).collect()
}

#[test]
fn the_files_of_the_store_have_no_circles() {
    let dir = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("src/store");
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|extension| extension == "rs") {
            texts.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    let files: BTreeSet<String> = texts.keys().cloned().collect();
    let mut left: BTreeMap<String, BTreeSet<String>> = texts
        .iter()
        .map(|(name, text)| (name.clone(), uses(text, &files)))
        .collect();
    assert!(
        left["open"].contains("recover") && left["state"].contains("index"),
        "the uses are read"
    );
    while !left.is_empty() {
        let ground: Vec<String> = left
            .iter()
            .filter(|(_, uses)| uses.iter().all(|used| !left.contains_key(used)))
            .map(|(name, _)| name.clone())
            .collect();
        assert!(!ground.is_empty(), "these use each other in a circle: {left:?}");
        left.retain(|name, _| !ground.contains(name));
    }
}
