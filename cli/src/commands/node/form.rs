//! Files that come with a call of the RPC, as parts of a form (multipart/form-data).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use axum::extract::Request;
use axum::http::header;
use multer::{Field, Multipart};
use odf_node::unixfs::directory::is_plain_name;
use percent_encoding::percent_decode_str;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

use crate::failure::{Failure, Kind};

/// The most parts of one form.
pub(super) const MAX_PARTS: usize = 100_000;
/// The deepest directory in one.
pub(super) const MAX_PARTS_DEPTH: usize = 128;

/// What came.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// A file without a name.
    pub(super) input: Option<PathBuf>,
    /// Files and directories with names, relative to where they were put.
    pub(super) paths: Vec<PathBuf>,
}

/// Puts the files of a form below `dir`, and says which there are.
///
/// # Errors
/// It is no form, a name leads elsewhere, or the disk is full.
pub(super) async fn receive(request: Request, dir: &Path) -> Result<Sent, Failure> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(wrong)?;
    let mut form = Multipart::new(request.into_body().into_data_stream(), boundary);
    let tree = dir.join("tree");
    fs::create_dir(&tree)
        .await
        .map_err(|error| Failure::file(&tree, &error))?;
    let mut sent = Sent::default();
    let (mut firsts, mut links) = (BTreeSet::new(), BTreeSet::new());
    let mut count = 0;
    while let Some(part) = form.next_field().await.map_err(wrong)? {
        count += 1;
        if count > MAX_PARTS {
            return Err(Failure::new(
                Kind::BadInput,
                format!("a form has at most {MAX_PARTS} parts"),
            ));
        }
        let Some(name) = name_of(&part)? else {
            if sent.input.is_some() {
                return Err(Failure::new(
                    Kind::BadInput,
                    "only one file of a form may be without a name",
                ));
            }
            let path = dir.join("input");
            save(part, &path).await?;
            sent.input = Some(path);
            continue;
        };
        if let Some(first) = name.iter().next().map(PathBuf::from)
            && firsts.insert(first.clone())
        {
            sent.paths.push(Path::new("tree").join(first));
        }
        if name.ancestors().skip(1).any(|above| links.contains(above)) {
            return Err(Failure::new(
                Kind::BadInput,
                format!("{} is below a link, and nothing is written through one", name.display()),
            ));
        }
        let path = tree.join(&name);
        let failed = |error: std::io::Error| Failure::file(&name, &error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).await.map_err(failed)?;
        }
        match part.content_type().map(|kind| kind.essence_str().to_owned()).as_deref() {
            Some("application/x-directory") => fs::create_dir_all(&path).await.map_err(failed)?,
            Some("application/symlink") => {
                let target = part.text().await.map_err(wrong)?;
                fs::symlink(&target, &path).await.map_err(failed)?;
                links.insert(name);
            }
            _ => save(part, &path).await?,
        }
    }
    Ok(sent)
}

/// The name of a part within what was sent; nothing for one without.
fn name_of(part: &Field<'_>) -> Result<Option<PathBuf>, Failure> {
    let Some(name) = part.file_name().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let name = percent_decode_str(name)
        .decode_utf8()
        .map_err(|error| Failure::new(Kind::BadInput, error).about(format!("the name {name:?} in the form")))?;
    plain(&name).map(Some)
}

/// A path that stays below where it is put.
fn plain(name: &str) -> Result<PathBuf, Failure> {
    let parts: Vec<&str> = name.split('/').collect();
    if !parts.iter().all(|part| is_plain_name(part)) || parts.len() > MAX_PARTS_DEPTH {
        return Err(Failure::new(
            Kind::BadInput,
            format!("{name:?} is no name of a file to add"),
        ));
    }
    Ok(parts.iter().collect())
}

/// A file that is there is never written over.
async fn save(mut part: Field<'_>, path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file(path, &error);
    let mut file = File::create_new(path).await.map_err(failed)?;
    while let Some(piece) = part.chunk().await.map_err(wrong)? {
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)
}

fn wrong(error: multer::Error) -> Failure {
    Failure::new(Kind::BadInput, error).about("the form that came with the call")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out() {
        for name in ["..", "a/../b", "/etc/passwd", "a//b", ".", "", "a/\0"] {
            assert!(plain(name).is_err(), "{name:?}");
        }
        assert_eq!(plain("a/b c").unwrap(), Path::new("a/b c"));
        let deep = vec!["d"; MAX_PARTS_DEPTH].join("/");
        assert!(plain(&deep).is_ok());
        assert!(plain(&format!("{deep}/d")).is_err());
    }
}
