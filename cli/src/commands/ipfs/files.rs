//! `odfs ipfs files`: a tree of names that can be changed, as Kubo's MFS.

use clap::{Args, Subcommand};
use odf_node::block::{Cid, DAG_PB, RAW, cid_from_text};
use odf_node::store::Blocks as _;
use odf_node::unixfs::directory;
use odf_node::unixfs::node::{Stat, stat as kind_of};
use odf_node::unixfs::{Entry, UNIXFS_V0_2015};
use serde::Serialize;

use super::call::Call;
use crate::failure::{Failure, Kind};
use crate::io::Io;

mod form;
mod list;
mod place;
mod stat;
mod tree;
mod what;
mod write;

use form::Form;
pub(super) use place::Place;
pub(super) use tree::Tree;
use what::What;

/// Keep content under names, in a tree of directories that can be changed
///
/// Paths are absolute (`/photos/a.jpg`), and the tree is one for the whole workspace. What is in it is kept from being
/// collected as garbage, for as much of it as is here: what others have comes when it is read.
#[derive(Args, Debug)]
pub(crate) struct FilesArgs {
    /// Taken for Kubo's sake: every change is on the disk when its command ends
    #[arg(short, long, global = true, hide = true, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    flush: bool,
    #[command(subcommand)]
    command: FilesCommand,
}

/// What is done to the tree.
#[derive(Subcommand, Debug)]
enum FilesCommand {
    /// Put content, or what is elsewhere in the tree, at a place in the tree; what others have of it is not fetched yet
    Cp {
        /// What: /ipfs/CID/…, /ipns/NAME/…, or a place in the tree
        source: String,
        /// Where; into a directory if it ends with a slash
        dest: String,
        /// Take the place of a file that is there
        #[arg(long)]
        force: bool,
        /// Make the directories on the way
        #[arg(short, long)]
        parents: bool,
    },
    /// Make directories
    Mkdir {
        /// Where
        path: String,
        /// Make those on the way, and do not fail if it is there
        #[arg(short, long)]
        parents: bool,
        #[command(flatten)]
        form: Form,
    },
    /// Move or rename
    Mv {
        /// What
        source: String,
        /// Where to; into a directory if there is one
        dest: String,
    },
    /// Remove files and directories from the tree
    Rm {
        /// What
        #[arg(required = true)]
        paths: Vec<String>,
        /// Directories, too, with all they hold
        #[arg(short, long)]
        recursive: bool,
        /// Anything, and do not fail if it is not there
        #[arg(long)]
        force: bool,
    },
    /// List directories
    Ls(list::ListArgs),
    /// Print what is known of a file or directory
    Stat(stat::StatArgs),
    /// Write the content of a file to standard output
    Read(list::ReadArgs),
    /// Write into a file
    Write(write::WriteArgs),
    /// Print the CID of a place in the tree; changes are on the disk already
    Flush {
        /// Which place
        #[arg(default_value = "/")]
        path: String,
    },
    /// Give a directory CIDs of another version
    Chcid {
        /// Which directory
        path: String,
        #[command(flatten)]
        form: Form,
    },
    /// Make another directory the whole tree, or an empty one
    Chroot {
        /// CID of the directory, which has to be here
        cid: Option<String>,
        /// Yes, what the tree has now may be collected as garbage
        #[arg(long)]
        confirm: bool,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Flushed {
    cid: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    message: String,
}

pub(super) fn run(args: &FilesArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    match &args.command {
        FilesCommand::Cp {
            source,
            dest,
            force,
            parents,
        } => copy(source, dest, *force, *parents, call, io),
        FilesCommand::Mkdir { path, parents, form } => {
            let place = Place::parse(path)?;
            if place.names.is_empty() && !parents {
                return Err(Failure::new(
                    Kind::Refused,
                    "cannot create directory '/': Already exists",
                ));
            }
            let mut tree = Tree::change(call, io)?;
            tree.make(&place, *parents, &form.profile(), io)?;
            tree.commit()
        }
        FilesCommand::Mv { source, dest } => rename(&Place::parse(source)?, Place::parse(dest)?, call, io),
        FilesCommand::Rm {
            paths,
            recursive,
            force,
        } => {
            if !args.flush {
                return Err(Failure::usage(
                    "files rm always flushes for safety. The --flush flag cannot be set to false for this command",
                ));
            }
            remove_all(paths, *recursive, *force, call, io)
        }
        FilesCommand::Ls(args) => list::list(args, call, io),
        FilesCommand::Stat(args) => stat::run(args, call, io),
        FilesCommand::Read(args) => list::read(args, call, io),
        FilesCommand::Write(args) => write::run(args, call, io),
        FilesCommand::Flush { path } => {
            let place = Place::parse(path)?;
            let cid = call.cid(Tree::read(call)?.find(&place.names, io)?.cid());
            // Kubo has no other form of this.
            super::call::answer(super::call::Encoding::Json, &Flushed { cid }, "", io)
        }
        FilesCommand::Chcid { path, form } => change_version(path, form, call, io),
        FilesCommand::Chroot { cid, confirm } => replace_root(cid.as_deref(), *confirm, call, io),
    }
}

fn copy(source: &str, dest: &str, force: bool, parents: bool, call: &Call<'_>, io: &Io) -> Result<(), Failure> {
    let source = What::parse(source)?;
    let mut dest = Place::parse(dest)?;
    if dest.is_directory() {
        dest = dest.child(&source.name());
    }
    // What is fetched here, or was never pinned, is not collected before the tree has it.
    let _hold = call.session.workspace()?.store().hold();
    // Not in the turn of this command: who has it may take long to answer.
    let node = source
        .find(call, io)
        .map_err(|failure| failure.about(format_args!("cp: cannot get node from path {source}")))?;
    let is_unixfs = match node.cid().codec() {
        RAW => true,
        DAG_PB => kind_of(&node).is_ok(),
        _ => false,
    };
    if !is_unixfs {
        return Err(Failure::new(
            Kind::BadInput,
            "cp: source must be a valid UnixFS (dag-pb or raw codec)",
        ));
    }
    let mut tree = Tree::change(call, io)?;
    let Some((dir, name)) = dest.split() else {
        return Err(Failure::usage("cannot create file with empty name"));
    };
    if parents {
        let above = Place {
            names: dir.to_vec(),
            is_directory: true,
        };
        tree.make(&above, true, &UNIXFS_V0_2015, io)?;
    }
    if force && let Some(there) = tree.look(&dest.names, io)? {
        if kind_of(&there)? == Stat::Directory {
            return Err(Failure::new(
                Kind::Refused,
                format!("cp: cannot unlink existing file: not a file: {dest}"),
            ));
        }
        tree.set(dir, name, None, io)?;
    }
    tree.add(&dest, &node, io)
        .map_err(|failure| failure.about(format_args!("cp: cannot put node in path {dest}")))?;
    tree.commit()
}

fn rename(source: &Place, dest: Place, call: &Call<'_>, io: &Io) -> Result<(), Failure> {
    let mut tree = Tree::change(call, io)?;
    let Some((from, name)) = source.split().filter(|_| !source.is_directory) else {
        return Err(tree::missing());
    };
    let mut dest = match dest.is_directory() {
        true => dest.child(name),
        false => dest,
    };
    tree.directory(dest.split().map_or(&[], |(dir, _)| dir), io)?;
    let node = tree.find(&source.names, io)?;
    match tree.look(&dest.names, io)? {
        Some(there) if kind_of(&there)? == Stat::Directory => dest = dest.child(name),
        Some(_) if dest.names == source.names => return Ok(()),
        Some(_) => {
            if let Some((dir, name)) = dest.split() {
                tree.set(dir, name, None, io)?;
            }
        }
        None => {}
    }
    if dest.names.len() > source.names.len() && dest.names.starts_with(&source.names) {
        return Err(Failure::new(
            Kind::Refused,
            format!("cannot move {source} into itself, as {dest}"),
        ));
    }
    tree.add(&dest, &node, io)?;
    tree.set(from, name, None, io)?;
    tree.commit()
}

fn remove_all(paths: &[String], recursive: bool, force: bool, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let mut tree = Tree::change(call, io)?;
    let mut failed = Vec::new();
    for typed in paths {
        match Place::parse(typed) {
            Ok(place) => {
                if let Err(failure) = remove(&place, recursive, force, &mut tree, io) {
                    failed.push(format!("{place}: {}", failure.message()));
                }
            }
            Err(failure) => failed.push(format!("{typed} is not a valid path: {}", failure.message())),
        }
    }
    tree.commit()?;
    for problem in &failed {
        super::call::answer(super::call::Encoding::Json, problem, "", io)?;
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Kind::NotFound, "can't remove some files")
            .next("what is said of each is above; the others are gone")),
    }
}

fn remove(place: &Place, recursive: bool, force: bool, tree: &mut Tree<'_>, io: &Io) -> Result<(), Failure> {
    let Some((dir, name)) = place.split() else {
        return Err(Failure::new(Kind::Refused, "cannot delete root"));
    };
    match tree.look(&place.names, io)? {
        None if force => return Ok(()),
        None => return Err(tree::missing()),
        Some(there) if !force && !recursive && kind_of(&there)? == Stat::Directory => {
            return Err(Failure::new(
                Kind::Refused,
                "path is a directory, use -r to remove directories",
            ));
        }
        Some(_) => {}
    }
    tree.set(dir, name, None, io)
}

fn change_version(path: &str, form: &Form, call: &Call<'_>, io: &Io) -> Result<(), Failure> {
    let place = Place::parse(path)?;
    let Some((dir, name)) = place.split() else {
        return Err(Failure::usage(
            "cannot change CID format of the MFS root; use 'ipfs config Import.CidVersion' and 'ipfs config Import.HashFunction' instead",
        ));
    };
    let mut tree = Tree::change(call, io)?;
    let Some(profile) = form.asked() else { return Ok(()) };
    let there = tree.find(&place.names, io)?;
    if kind_of(&there)? != Stat::Directory {
        return Err(Failure::new(Kind::BadInput, "can only update directories"));
    }
    let links = tree.source().list(&there, io)?.into_iter().map(|link| {
        let entry = Entry {
            cid: link.cid,
            tsize: link.tsize,
            size: 0,
        };
        (link.name, entry)
    });
    let built = directory::build(&profile, links)?;
    tree.store().put(&built.blocks)?;
    tree.set(dir, name, Some(built.entry), io)?;
    tree.commit()
}

fn replace_root(cid: Option<&str>, confirm: bool, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    if !confirm {
        return Err(Failure::usage(
            "this is a potentially destructive operation; pass --confirm to proceed",
        ));
    }
    let store = call.session.workspace()?.store();
    let _hold = store.hold();
    let new: Cid = match cid {
        Some(text) => cid_from_text(text).map_err(|error| Failure::usage(format!("invalid CID {text:?}: {error}")))?,
        None => Tree::empty(store)?,
    };
    let Some(block) = store.get(&new)? else {
        return Err(Failure::new(
            Kind::NotFound,
            format!(
                "new root {} does not exist locally; fetch it first with 'ipfs block get'",
                call.cid(&new)
            ),
        ));
    };
    if kind_of(&block)? != Stat::Directory {
        return Err(Failure::new(Kind::BadInput, "new root must be a directory, got File"));
    }
    // A root that cannot be read is what this is there to mend.
    let (tree, old) = match Tree::change(call, io) {
        Ok(tree) => {
            let old = tree.root();
            (tree, Some(old))
        }
        Err(_) => (Tree::anew(call, io)?, None),
    };
    tree.replace(new)?;
    let new = call.cid(&new);
    let message = match old.map(|old| call.cid(&old)) {
        Some(old) => format!(
            "MFS root changed from {old} to {new}\nThe old root {old} will be garbage collected unless pinned.\n"
        ),
        None => format!("MFS root set to {new}\n"),
    };
    let text = message.trim_end().to_owned();
    call.answer(&Message { message }, text, io)
}
