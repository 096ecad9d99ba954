//! What a path of content begins with: a CID or a name.

use axum::http::StatusCode;
use cid::Cid;

use super::refusal::Refusal;
use crate::block::{LIBP2P_KEY, cid_from_text};

/// What a path begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// `/ipfs/{cid}`.
    Cid(Cid),
    /// `/ipns/{name}`: a key or a domain.
    Name(String),
}

/// Splits a path into what it begins with and the rest.
///
/// # Errors
/// 400 for what is no CID, 404 for a path outside `/ipfs` and `/ipns`.
pub(super) fn split(path: &str) -> Result<(Root, &str), Refusal> {
    let (space, rest) = match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((space @ ("ipfs" | "ipns"), rest)) => (space, rest),
        _ => {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "paths here begin with /ipfs/CID or /ipns/NAME",
            ));
        }
    };
    let (root, rest) = rest.split_once('/').unwrap_or((rest, ""));
    if root.is_empty() {
        return Err(Refusal::bad(format!("/{space}/ is followed by no root")));
    }
    let root = if space == "ipns" {
        Root::Name(root.to_owned())
    } else {
        Root::Cid(parse_cid(root)?)
    };
    Ok((root, rest))
}

fn parse_cid(text: &str) -> Result<Cid, Refusal> {
    let bad = |why: String| Refusal::bad(format!("invalid path \"/ipfs/{text}\": {text:?} is not a CID: {why}"));
    let cid = cid_from_text(text).map_err(|error| bad(error.to_string()))?;
    if cid.codec() == LIBP2P_KEY {
        return Err(bad(format!("it is a name, found under /ipns/{text}")));
    }
    Ok(cid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_with_a_root() {
        let cid = "bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu";
        let path = format!("/ipfs/{cid}/a//b/");
        let (root, rest) = split(&path).map_err(|refusal| refusal.reason().to_owned()).unwrap();
        assert_eq!((root, rest), (Root::Cid(cid.parse().unwrap()), "a//b/"));
        let status = |path: &str| split(path).map(|_| ()).unwrap_err().status().as_u16();
        assert_eq!(status("/ipfs/nonsense"), 400);
        assert_eq!(status("/ipfs/"), 400);
        assert_eq!(status("/ipns/"), 400);
        assert_eq!(status("/ipfs"), 404);
        assert_eq!(status("/"), 404);
        assert_eq!(status("/api/v0/id"), 404);
        let name = "k51qzi5uqu5dgqj09ikt2befzowhv78qa9bmoyttb02n34blh6wahonsfzmqkp";
        assert_eq!(
            split(&format!("/ipns/{name}")).ok().unwrap().0,
            Root::Name(name.to_owned())
        );
        assert_eq!(status(&format!("/ipfs/{name}")), 400);
    }
}
