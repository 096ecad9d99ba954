//! Lists in memory and on disk.

use std::io::Cursor;

use super::*;
use crate::block::{Block, RAW};

/// One list in memory; a second would go before it.
fn list(text: &str) -> Result<Denylist, RulesError> {
    let rules = Rules::read(Cursor::new(text.as_bytes()), &"a test")?;
    let state = State {
        modified: None,
        length: 0,
    };
    let read = RwLock::new(Read {
        state,
        rules: Arc::new(rules),
    });
    let path = PathBuf::new();
    Ok(Denylist {
        lists: [List { path, read }].into(),
    })
}

/// Whether a path that begins with `/ipfs/` or `/ipns/` is denied.
fn denies(list: &Denylist, path: &str) -> bool {
    let (space, rest) = path[1..].split_once('/').unwrap();
    let (root, path) = rest.split_once('/').unwrap_or((rest, ""));
    match space {
        "ipfs" => list.denies_path(&root.parse().unwrap(), path),
        _ => list.denies_name(root, path),
    }
}

const FILE: &str = "bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu";

/// Those of the examples of the specification that say what they are about.
#[test]
fn rules_mean_what_the_specification_says() {
    let list = list(
        "version: 1\n\
         name: examples\n\
         hints:\n  gateway_status: 410\n\
         ---\n\
         # a comment\n\
         \n\
         /ipfs/bafybeihvvulpp4evxj7x7armbqcyg6uezzuig6jp3lktpbovlqfkuqeuoq reason:legal\n\
         /ipfs/Qmah2YDTfrox4watLCr3YgKyBwvjq8FJZEFdWY6WtJ3Xt2/test*\n\
         /ipfs/QmTuvSQbEDR3sarFAN9kAeXBpiBCyYYNxdxciazBba11eC/test/*\n\
         /ipfs/QmUboz9UsQBDeS6Tug1U8jgoFkgYxyYood9NDyVURAY9pK/blocked*\n\
         !/ipfs/QmUboz9UsQBDeS6Tug1U8jgoFkgYxyYood9NDyVURAY9pK/blockednot\n\
         +/ipfs/QmUboz9UsQBDeS6Tug1U8jgoFkgYxyYood9NDyVURAY9pK/blocked/not\n\
         !/ipfs/QmUboz9UsQBDeS6Tug1U8jgoFkgYxyYood9NDyVURAY9pK/blocked/exceptions*\n\
         /ipns/domain.example\n\
         /ipns/domain2.example/path\n\
         /ipns/k51qzi5uqu5dhmzyv3zac033i7rl9hkgczxyl81lwoukda2htteop7d3x0y1mf\n\
         //QmX9dhRcQcKUw3Ws8485T5a9dtjrSCQaUAHnG4iK9i4ceM\n\
         //d9d295bde21f422d471a90f2a37ec53049fdf3e5fa3ee2e8f20e10003da429e7\n\
         //3f8b9febd851873b3774b937cce126910699ceac56e72e64b866f8e258d09572\n\
         //QmSju6XPmYLG611rmK7rEeCMFVuL6EHpqyvmEU6oGx3GR8\n\
         //C555c4de78827ba42527dd3dc5398db38d6c0a8c345a88e0158b2d100f317e50\r\n\
         /ipfs/QmdWFA9FL52hx3j9EJZPQP1ZUH8Ygi5tLCX2cRDs6knSf8/*",
    )
    .unwrap();
    for denied in [
        // By its multihash, whatever the codec.
        "/ipfs/bafybeihvvulpp4evxj7x7armbqcyg6uezzuig6jp3lktpbovlqfkuqeuoq",
        "/ipfs/bafkreihvvulpp4evxj7x7armbqcyg6uezzuig6jp3lktpbovlqfkuqeuoq",
        "/ipfs/QmesfgDQ3q6prBy2Kg2gKbW4MAGuWiRP2DVuGA5MZSERLo",
        "/ipfs/Qmah2YDTfrox4watLCr3YgKyBwvjq8FJZEFdWY6WtJ3Xt2/test",
        "/ipfs/Qmah2YDTfrox4watLCr3YgKyBwvjq8FJZEFdWY6WtJ3Xt2/test2/one",
        "/ipfs/QmTuvSQbEDR3sarFAN9kAeXBpiBCyYYNxdxciazBba11eC/test/one",
        "/ipfs/QmUboz9UsQBDeS6Tug1U8jgoFkgYxyYood9NDyVURAY9pK/blocked/",
        "/ipfs/QmUboz9UsQBDeS6Tug1U8jgoFkgYxyYood9NDyVURAY9pK/blocked2",
        "/ipns/domain.example",
        "/ipns/DOMAIN.example/below",
        "/ipns/domain-example",
        "/ipns/domain2.example/path/",
        "/ipns/k51qzi5uqu5dhmzyv3zac033i7rl9hkgczxyl81lwoukda2htteop7d3x0y1mf",
        "/ipns/bafzaajaiaejcaotjfs57kieazxny5japcmy5p2pgv2cic77tu6ogghttvurnrufx/x",
        "/ipns/12D3KooWDkNqEJNmreF3NYYFK1ws7Ra2fuW6cHBTu567SPV3LdYA",
        // By the hash of its multihash.
        "/ipfs/bafybeidjwik6im54nrpfg7osdvmx7zojl5oaxqel5cmsz46iuelwf5acja",
        "/ipfs/QmVTF1yEejXd9iMgoRTFDxBv7HAz9kuZcQNBzHrceuK9HR",
        "/ipfs/bafybeihrw75yfhdx5qsqgesdnxejtjybscwuclpusvxkuttep6h7pkgmze/my/path",
        // By the hash of its CID.
        "/ipfs/bafybeiefwqslmf6zyyrxodaxx4vwqircuxpza5ri45ws3y5a62ypxti42e",
        "/ipfs/bafybeiefwqslmf6zyyrxodaxx4vwqircuxpza5ri45ws3y5a62ypxti42e/path",
        "/ipns/bad-domain-name.tld",
        "/ipfs/QmdWFA9FL52hx3j9EJZPQP1ZUH8Ygi5tLCX2cRDs6knSf8",
        "/ipfs/QmdWFA9FL52hx3j9EJZPQP1ZUH8Ygi5tLCX2cRDs6knSf8/z/z",
    ] {
        assert!(denies(&list, denied), "{denied}");
    }
    for shown in [
        "/ipfs/bafybeihvvulpp4evxj7x7armbqcyg6uezzuig6jp3lktpbovlqfkuqeuoq/below",
        "/ipfs/Qmah2YDTfrox4watLCr3YgKyBwvjq8FJZEFdWY6WtJ3Xt2",
        "/ipfs/Qmah2YDTfrox4watLCr3YgKyBwvjq8FJZEFdWY6WtJ3Xt2/tes",
        "/ipfs/Qmah2YDTfrox4watLCr3YgKyBwvjq8FJZEFdWY6WtJ3Xt2/one/test",
        "/ipfs/QmUboz9UsQBDeS6Tug1U8jgoFkgYxyYood9NDyVURAY9pK/blockednot",
        "/ipfs/QmUboz9UsQBDeS6Tug1U8jgoFkgYxyYood9NDyVURAY9pK/blocked/not",
        "/ipfs/QmUboz9UsQBDeS6Tug1U8jgoFkgYxyYood9NDyVURAY9pK/blocked/exceptions2/one",
        "/ipns/domain--example",
        "/ipns/other.example",
        "/ipns/domain2.example",
        "/ipns/domain2.example/path2",
        "/ipfs/bafybeiefwqslmf6zyyrxodaxx4vwqircuxpza5ri45ws3y5a62ypxti42e/path2",
        "/ipfs/bafybeihrw75yfhdx5qsqgesdnxejtjybscwuclpusvxkuttep6h7pkgmze/my",
    ] {
        assert!(!denies(&list, shown), "{shown}");
    }
}

#[test]
fn the_last_line_that_matches_decides_whatever_its_form() {
    let hash = crate::block::sha2_256(
        multibase::Base::Base58Btc
            .encode(FILE.parse::<Cid>().unwrap().hash().to_bytes())
            .as_bytes(),
    );
    let hashed = multibase::Base::Base58Btc.encode(hash.to_bytes());
    let path = format!("/ipfs/{FILE}");
    for (text, denied) in [
        (format!("/ipfs/{FILE}\n!//{hashed}\n"), false),
        (format!("!//{hashed}\n/ipfs/{FILE}\n"), true),
        (format!("//{hashed}\n!/ipfs/{FILE}/*\n"), false),
        (format!("//{hashed}\n!//{hashed}\n//{hashed}"), true),
    ] {
        assert_eq!(denies(&list(&text).unwrap(), &path), denied, "{text}");
    }
}

#[test]
fn what_is_no_rule_is_passed_over() {
    let empty = "/ipfs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    let directory = "/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
    let text = format!("nonsense\n/ipfs/\n/ipfs/x\n//\n//x\n/\n!\n*\n/ipfs/{FILE}/%ff\n{empty}\n{directory}\n");
    let list = list(&text).unwrap();
    for path in [empty, directory, &format!("/ipfs/{FILE}"), "/ipns/x"] {
        assert!(!denies(&list, path), "{path}");
    }
}

#[test]
fn headers_and_lines_have_an_end() {
    let rule = format!("/ipfs/{FILE}\n");
    let denied = |text: String| list(&text).map(|list| denies(&list, rule.trim()));
    assert!(denied(format!("---\n{rule}")).unwrap());
    assert!(denied(format!("version: \"1\" # of 2023\n---\n{rule}")).unwrap());
    assert!(matches!(
        denied(format!("version: 2\n---\n{rule}")),
        Err(RulesError::Version(_))
    ));
    // A header that is too long is none: its lines are no rules.
    let header = |length: usize| format!("{}\n", "#".repeat(length - "\n---\n".len()));
    assert!(denied(format!("{}---\n{rule}", header(MAX_HEADER_BYTES))).unwrap());
    assert!(denied(format!("{rule}{}---\n", header(MAX_HEADER_BYTES + 1 - rule.len()))).unwrap());
    assert!(!denied(format!("{rule}{}---\n", header(MAX_HEADER_BYTES - rule.len()))).unwrap());
    let line = |length: usize| format!("#{}\n", "x".repeat(length - 2));
    assert!(denied(format!("{}{rule}", line(MAX_LINE_BYTES))).unwrap());
    assert!(matches!(
        denied(format!("{}{rule}", line(MAX_LINE_BYTES + 1))),
        Err(RulesError::TooLong(1))
    ));
}

#[test]
fn files_are_read_again_when_they_change_and_the_last_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = ["a.deny", "b.deny"].map(|name| dir.path().join(name));
    let block = Block::new(RAW, &b"denied"[..]).unwrap();
    let missing = Denylist::open(std::slice::from_ref(&first)).unwrap_err().to_string();
    assert!(missing.contains("a.deny"), "{missing}");
    std::fs::write(&first, "").unwrap();
    std::fs::write(&second, "").unwrap();
    let lists = Denylist::open(&[first.clone(), second.clone()]).unwrap();
    let other_handle = lists.clone();
    let denied = || {
        lists.refresh();
        other_handle.denies(block.cid())
    };
    assert!(!denied());
    std::fs::write(&first, format!("/ipfs/{}\n", block.cid())).unwrap();
    assert!(denied());
    // What was read stays while a file is away, or is of another version.
    std::fs::remove_file(&first).unwrap();
    assert!(denied());
    std::fs::write(&first, "version: 9\n---\n").unwrap();
    assert!(denied());
    std::fs::write(&second, format!("!/ipfs/{}\n", block.cid())).unwrap();
    assert!(!denied());
    assert!(!Denylist::default().denies(block.cid()));
}
