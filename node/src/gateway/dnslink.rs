//! What domains stand for: DNSLink.
//!
//! Spec: <https://dnslink.dev/>. Asked is the TXT record of `_dnslink.{domain}`, and nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;

use super::source::{NameValue, SourceError};
use crate::block::cid_from_text;

/// How long an answer holds that has no time of its own.
const FIXED_FOR: Duration = Duration::from_secs(60);
/// The longest name that DNS has.
const MAX_DOMAIN: usize = 253;

/// Where it is found out what domains stand for: a table of this node, then the system's DNS.
#[derive(Default)]
pub struct DnsLinks {
    fixed: BTreeMap<String, String>,
    resolver: Option<TokioResolver>,
}

impl DnsLinks {
    /// Asks the system's DNS about all domains but those of a table: domain, path.
    pub fn system(fixed: impl IntoIterator<Item = (String, String)>) -> Self {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        if let Err(error) = &resolver {
            tracing::warn!(%error, "domains cannot be looked up");
        }
        let fixed = fixed.into_iter().map(|(domain, path)| (plain(&domain), path));
        Self {
            fixed: fixed.collect(),
            resolver: resolver.ok(),
        }
    }

    /// What the table says.
    pub(super) fn fixed(&self, domain: &str) -> Option<NameValue> {
        let path = self.fixed.get(&plain(domain))?.clone();
        Some(NameValue {
            path,
            max_age: FIXED_FOR,
            record: None,
        })
    }

    /// What DNS says.
    pub(super) async fn look_up(&self, domain: &str) -> Result<NameValue, SourceError> {
        let failed =
            |error: &dyn std::fmt::Display| SourceError::Failed(format!("looking up {domain} in DNS: {error}"));
        let resolver = self.resolver.as_ref().ok_or_else(|| failed(&"there is none"))?;
        let found = match resolver.txt_lookup(format!("_dnslink.{}.", plain(domain))).await {
            Ok(found) => found,
            Err(error) if error.is_nx_domain() || error.is_no_records_found() => {
                return Err(SourceError::NotFound(format!(
                    "{domain} has no DNSLink: no TXT record of _dnslink.{domain}"
                )));
            }
            Err(error) => return Err(failed(&error)),
        };
        let texts = found.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(text) => String::from_utf8(text.txt_data.concat()).ok(),
            _ => None,
        });
        let path = link_in(texts).map_err(|why| SourceError::NotFound(format!("{domain} has no DNSLink: {why}")))?;
        Ok(NameValue {
            path,
            max_age: found.valid_until().saturating_duration_since(Instant::now()),
            record: None,
        })
    }
}

/// Whether a name may be one that DNS has.
pub(super) fn is_domain(name: &str) -> bool {
    let is_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_part = |part: &str| (1..=63).contains(&part.len()) && part.chars().all(is_char);
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= MAX_DOMAIN && name.contains('.') && name.split('.').all(is_part)
}

/// A domain as domains are compared.
fn plain(domain: &str) -> String {
    domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase()
}

/// The one path among texts: `dnslink=/ipfs/{cid}/…`, and as old sites have it, a CID or a path alone.
fn link_in(texts: impl Iterator<Item = String>) -> Result<String, &'static str> {
    let mut paths = texts.filter_map(|text| {
        let text = text.strip_prefix("dnslink=").unwrap_or(&text).trim();
        match text {
            path if path.starts_with("/ipfs/") || path.starts_with("/ipns/") => Some(path.to_owned()),
            cid => cid_from_text(cid).ok().map(|cid| format!("/ipfs/{cid}")),
        }
    });
    match (paths.next(), paths.next()) {
        (Some(path), None) => Ok(path),
        (None, _) => Err("none of its TXT records is one"),
        (Some(_), Some(_)) => Err("more than one of its TXT records is one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu";

    #[test]
    fn exactly_one_record_says_what_a_domain_stands_for() {
        let link = |texts: &[&str]| link_in(texts.iter().map(|text| (*text).to_owned()));
        let path = format!("/ipfs/{CID}");
        assert_eq!(link(&["v=spf1", &format!("dnslink={path}/a")]), Ok(format!("{path}/a")));
        assert_eq!(link(&["dnslink=/ipns/example.org"]), Ok("/ipns/example.org".to_owned()));
        assert_eq!(link(&[CID]), Ok(path.clone()));
        assert!(link(&["dnslink=https://example.org", ""]).is_err());
        assert!(link(&[&format!("dnslink={path}"), &format!("dnslink={path}")]).is_err());
    }

    #[test]
    fn domains_are_told_from_other_names() {
        let longest = format!("{}a.b", "abcdefg.".repeat(31)).replacen("abcdefg", "abcdefghi", 1);
        assert_eq!(longest.len(), MAX_DOMAIN);
        for domain in ["example.org", "a-b.c_d.example.org.", &longest] {
            assert!(is_domain(domain), "{domain}");
        }
        for other in [
            "localhost",
            "a..b",
            ".a.b",
            "a b.c",
            "\u{fc}.b",
            &format!("a{longest}"),
            &format!("{}.b", "a".repeat(64)),
        ] {
            assert!(!is_domain(other), "{other}");
        }
    }
}
