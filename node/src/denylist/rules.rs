//! One list: its lines as rules, and which of them decides.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, BufRead, Read as _};

use cid::Cid;
use multibase::Base;
use multihash::Multihash;

use crate::block::{DAG_PB, LIBP2P_KEY, SHA2_256, cid_from_text, inherent, sha2_256};
use crate::percent::decode;

/// The longest header.
pub const MAX_HEADER_BYTES: usize = 1 << 20;
/// The longest line, with its end.
pub const MAX_LINE_BYTES: usize = 2 << 20;

/// The version of the format that is read.
const VERSION: &str = "1";
/// What a header ends with.
const HEADER_END: &str = "---";
/// Content that everybody has and much refers to: the empty directory, and an empty map in dag-cbor and dag-json. As in Kubo, rules
/// for these are passed over, and those for [`inherent`] blocks.
const EMPTY: [&str; 3] = [
    "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
    "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua",
    "baguqeeraiqjw7i2vwntyuekgvulpp2det2kpwt6cd7tx5ayqybqpmhfk76fa",
];

/// Why a file is no list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is of another version of the format.
    #[error("it is of version {0:?} of the format, and only version {VERSION} is read here")]
    Version(String),
    /// It has a line of more than [`MAX_LINE_BYTES`].
    #[error("line {0} has more than {MAX_LINE_BYTES} bytes")]
    TooLong(usize),
}

/// What a line says of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Which line of the list it is.
    line: usize,
    denies: bool,
    /// Without slashes at its ends, not encoded.
    path: Box<str>,
    /// Whether it is about all paths that begin so.
    is_prefix: bool,
}

impl Rule {
    fn is_about(&self, path: &str) -> bool {
        match self.is_prefix {
            true => path.starts_with(&*self.path),
            false => path == &*self.path,
        }
    }
}

/// A list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// By the multihash of a root.
    content: HashMap<Box<[u8]>, Vec<Rule>>,
    /// By the multihash of a key.
    keys: HashMap<Box<[u8]>, Vec<Rule>>,
    /// By a domain, in lowercase.
    domains: HashMap<Box<str>, Vec<Rule>>,
    /// By the sha2-256 hash of a path, in one of the forms that [`Rules::hashed`] is asked for: the line, and whether it denies.
    hashes: HashMap<[u8; 32], (usize, bool)>,
}

impl Rules {
    /// Reads a list, which is called `what` in the log.
    ///
    /// # Errors
    /// It is no list of this version. A line that is no rule is logged and passed over.
    pub(super) fn read(mut source: impl BufRead + io::Seek, what: &dyn Display) -> Result<Self, RulesError> {
        let mut at = header(&mut source)?;
        if at == 0 {
            source.rewind()?;
        }
        let (mut rules, mut line) = (Self::default(), Vec::new());
        loop {
            line.clear();
            at += 1;
            let read = source
                .by_ref()
                .take(MAX_LINE_BYTES as u64 + 1)
                .read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(rules);
            }
            if read > MAX_LINE_BYTES {
                return Err(RulesError::TooLong(at));
            }
            let text = String::from_utf8_lossy(&line);
            // What follows are hints, of which none is known.
            let Some(rule) = text
                .split_ascii_whitespace()
                .next()
                .filter(|rule| !rule.starts_with('#'))
            else {
                continue;
            };
            if let Err(reason) = rules.take(at, rule) {
                tracing::warn!(list = %what, line = at, reason, "a line of a denylist is no rule");
            }
        }
    }

    /// Takes the rule of a line.
    fn take(&mut self, line: usize, text: &str) -> Result<(), &'static str> {
        let (denies, text) = match text.strip_prefix(['!', '+', '-']) {
            Some(text) => (false, text),
            None => (true, text),
        };
        if let Some(hash) = text.strip_prefix("//") {
            let mut hashes = double_hashes(hash).peekable();
            if hashes.peek().is_none() {
                return Err("it is neither a sha2-256 multihash in base58 nor a sha2-256 hash in hexadecimal digits");
            }
            self.hashes.extend(hashes.map(|hash| (hash, (line, denies))));
            return Ok(());
        }
        let path = text.strip_prefix('/').and_then(|text| text.split_once('/'));
        let (space, rest) = path.ok_or("it begins with none of /ipfs/, /ipld/, /ipns/ and //")?;
        let (root, path) = rest
            .split_once('/')
            .map_or((rest, None), |(root, path)| (root, Some(path)));
        let (path, is_prefix) = match path.map(|path| (path, path.strip_suffix('*'))) {
            None => ("", false),
            Some((_, Some(beginning))) => (beginning, true),
            Some((path, None)) => (path, false),
        };
        let rule = Rule {
            line,
            denies,
            path: decode(path).ok_or("its path is not UTF-8")?.trim_matches('/').into(),
            is_prefix,
        };
        match space {
            "ipfs" | "ipld" => {
                let cid = cid_from_text(root).map_err(|_| "it has no CID")?;
                let is_empty = |text: &&str| cid_from_text(text).is_ok_and(|empty| empty.hash() == cid.hash());
                if inherent(&cid).is_some() || EMPTY.iter().any(is_empty) {
                    return Err("it is about content that is empty");
                }
                self.content.entry(cid.hash().to_bytes().into()).or_default().push(rule);
            }
            "ipns" => match key(root) {
                Some(key) => self.keys.entry(key.to_bytes().into()).or_default().push(rule),
                None => self.domains.entry(domain(root)).or_default().push(rule),
            },
            _ => return Err("it begins with none of /ipfs/, /ipld/, /ipns/ and //"),
        }
        Ok(())
    }

    /// Whether what is at a path below a root is denied; nothing where no line is about it.
    pub(super) fn on_content(&self, root: &Cid, path: &str) -> Option<bool> {
        let path = path.trim_matches('/');
        let named = last(self.content.get(root.hash().to_bytes().as_slice()), path);
        self.latest(named, || {
            let codec = if root.version() == cid::Version::V0 {
                DAG_PB
            } else {
                root.codec()
            };
            vec![
                below(base58(root.hash()), path),
                format!("{}/{path}", v1(codec, root.hash())),
            ]
        })
    }

    /// Whether what is at a path below a name is denied; nothing where no line is about it.
    pub(super) fn on_name(&self, name: &str, path: &str) -> Option<bool> {
        let path = path.trim_matches('/');
        if let Some(key) = key(name) {
            let named = last(self.keys.get(key.to_bytes().as_slice()), path);
            return self.latest(named, || {
                vec![below(base58(&key), path), format!("{}/{path}", v1(LIBP2P_KEY, &key))]
            });
        }
        let domain = domain(name);
        let named = last(self.domains.get(&domain), path);
        self.latest(named, || {
            vec![below(format!("/ipns/{domain}"), path), format!("{domain}/{path}")]
        })
    }

    /// The word of the latest line: the one that was found, or one about the hash of one of these texts.
    fn latest(&self, named: Option<(usize, bool)>, texts: impl FnOnce() -> Vec<String>) -> Option<bool> {
        let hashed = match self.hashes.is_empty() {
            true => None,
            false => texts().iter().filter_map(|text| self.hashed(text)).max(),
        };
        named.max(hashed).map(|(_, denies)| denies)
    }

    fn hashed(&self, text: &str) -> Option<(usize, bool)> {
        let hash = sha2_256(text.as_bytes());
        self.hashes.get(<&[u8; 32]>::try_from(hash.digest()).ok()?).copied()
    }
}

/// The last of these rules that is about a path.
fn last(rules: Option<&Vec<Rule>>, path: &str) -> Option<(usize, bool)> {
    let mut rules = rules?.iter().rev();
    rules
        .find(|rule| rule.is_about(path))
        .map(|rule| (rule.line, rule.denies))
}

fn below(root: String, path: &str) -> String {
    match path {
        "" => root,
        path => format!("{root}/{path}"),
    }
}

fn base58(hash: &Multihash<64>) -> String {
    Base::Base58Btc.encode(hash.to_bytes())
}

/// A CID of version 1 in base32.
fn v1(codec: u64, hash: &Multihash<64>) -> String {
    Cid::new_v1(codec, *hash).to_string()
}

/// The multihash of a key, if the name is one in any of its forms.
fn key(name: &str) -> Option<Multihash<64>> {
    if let Ok(cid) = cid_from_text(name) {
        return Some(*cid.hash());
    }
    let bytes = Base::Base58Btc.decode(name).ok()?;
    Multihash::from_bytes(&bytes).ok()
}

/// A domain as domains are compared. One without dots has them as dashes, and its dashes twice, as in names of hosts.
fn domain(name: &str) -> Box<str> {
    let name = name.to_ascii_lowercase();
    match name.contains('.') {
        true => name.into(),
        false => name.replace("--", "\0").replace('-', ".").replace('\0', "-").into(),
    }
}

/// The sha2-256 hashes that a rule may mean. Some texts can be read in both ways, and mean both.
fn double_hashes(text: &str) -> impl Iterator<Item = [u8; 32]> + use<> {
    let of_multihash = || {
        let hash = Multihash::<64>::from_bytes(&Base::Base58Btc.decode(text).ok()?).ok()?;
        (hash.code() == SHA2_256)
            .then(|| hash.digest().try_into().ok())
            .flatten()
    };
    let of_digits = || {
        Base::Base16Lower
            .decode(text.to_ascii_lowercase())
            .ok()?
            .try_into()
            .ok()
    };
    let found: [Option<[u8; 32]>; 2] = [of_multihash(), of_digits()];
    found.into_iter().flatten()
}

/// Reads the header, if there is one, and gives how many lines it has. Without one the source is anywhere.
fn header(source: &mut impl BufRead) -> Result<usize, RulesError> {
    let mut limited = source.take(MAX_HEADER_BYTES as u64);
    let (mut line, mut lines, mut version) = (Vec::new(), 0, None);
    loop {
        line.clear();
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Ok(0);
        }
        lines += 1;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        let is_whole = line.ends_with(b"\n") || limited.limit() > 0;
        if text == HEADER_END && is_whole {
            return match version {
                Some(version) if version != VERSION => Err(RulesError::Version(version)),
                _ => Ok(lines),
            };
        }
        if let Some(said) = text.strip_prefix("version:") {
            let said = said.split('#').next().unwrap_or_default();
            version = Some(said.trim().trim_matches(['"', '\'']).to_owned());
        }
    }
}
