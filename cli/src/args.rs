//! The command line: global options and the root of the command tree.

use std::ffi::OsString;
use std::path::Path;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};
use odf::metadata::Timestamp;

use crate::commands::{self, Command};
use crate::failure;

/// Heading of the options that every command has.
const GLOBAL: &str = "Global options";

/// Publish, find, pull and verify Open Data Fabric datasets over IPFS, with no other daemon
///
/// Everything works on a workspace: the nearest `.odfs` directory upwards from here, else $ODFS_PATH, else the
/// platform's data directory. It is made on first use. Several odfs processes may use it at the same time.
#[derive(Parser, Debug)]
#[command(name = "odfs", version, max_term_width = 120)]
pub(crate) struct Cli {
    /// Use the terms of ODF and IPFS in listings and reports, and show on standard error what the peer does (-vv: more).
    /// ODFS_LOG takes a filter such as odfs_node=debug
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = GLOBAL)]
    pub(crate) verbose: u8,
    /// Say nothing on standard error but errors, and what somebody has to decide: for cron, which mails what is said. Results
    /// stay on standard output
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = GLOBAL)]
    pub(crate) quiet: bool,
    /// Answer every question with yes
    #[arg(short = 'y', long, global = true, help_heading = GLOBAL)]
    pub(crate) yes: bool,
    /// Use this time as the clock (RFC 3339), as the time of new metadata blocks: for repeating what was done before
    #[arg(long, global = true, value_name = "TIME", help_heading = GLOBAL)]
    pub(crate) system_time: Option<Timestamp>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command tree, with the exit codes at the end of the long help.
pub(crate) fn tree() -> clap::Command {
    Cli::command()
        .mut_subcommand("ipfs", commands::ipfs_switches)
        .after_long_help(failure::exit_codes())
}

/// Reads a command line, program name first. A program called `ipfs` has the commands of [`Command::Ipfs`].
///
/// # Errors
/// It is wrong, or asks for help or the version; the error knows what to print and where.
pub(crate) fn parse(argv: &[OsString]) -> Result<Cli, clap::Error> {
    let mut words = argv.to_vec();
    if is_ipfs(argv) {
        let after_name = words.len().min(1);
        words.splice(..after_name, ["odfs".into(), "ipfs".into()]);
        for word in words.iter_mut().skip(2).take(1).filter(|word| *word == "--version") {
            *word = "version".into();
        }
    }
    Cli::from_arg_matches(&tree().try_get_matches_from(words)?)
}

/// Whether the program was called by the name of Kubo's, by a link or a copy: for programs that know no other.
pub(crate) fn is_ipfs(argv: &[OsString]) -> bool {
    let name = argv.first().map(Path::new).and_then(Path::file_name);
    name.is_some_and(|name| name == "ipfs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// Columns of the reference page.
    const WIDTH: usize = 110;

    #[test]
    fn the_tree_is_sound() {
        tree().debug_assert();
    }

    /// The reference page is the help itself. `ODFS_BLESS=1 cargo test -p odfs` rewrites it.
    #[test]
    fn the_reference_page_is_the_help() {
        let mut page = String::from(
            "# odfs: command reference\n\nWritten by `ODFS_BLESS=1 cargo test -p odfs`; a test fails when it differs from `--help`.\n",
        );
        let mut root = tree().term_width(WIDTH);
        root.build();
        describe(&mut root, &mut page);
        let path =
            std::path::Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../docs/cli-reference.md");
        if std::env::var_os("ODFS_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &page).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page,
            "docs/cli-reference.md is out of date: run ODFS_BLESS=1 cargo test -p odfs"
        );
    }

    fn describe(command: &mut clap::Command, page: &mut String) {
        let help = command.render_long_help().to_string();
        let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
        write!(page, "\n## {name}\n\n```text\n").unwrap();
        for line in help.lines() {
            writeln!(page, "{}", line.trim_end()).unwrap();
        }
        page.push_str("```\n");
        for inner in command.get_subcommands_mut() {
            // That of clap says the same again.
            if !inner.is_hide_set() && inner.get_name() != "help" {
                describe(inner, page);
            }
        }
    }

    /// Terms of ODF and IPFS that everyday help does without. Names of flags and values may be such terms.
    const TERMS: [&str; 8] = [
        "holder",
        "watermark",
        "slice",
        "multibase",
        "multihash",
        "ipld",
        "stands for",
        "root",
    ];

    #[test]
    fn everyday_help_speaks_plainly() {
        let mut tree = tree().term_width(1000);
        tree.build();
        for command in tree.get_subcommands_mut() {
            if !["ipfs", "system", "inspect", "help"].contains(&command.get_name()) {
                speaks_plainly(command);
            }
        }
    }

    fn speaks_plainly(command: &mut clap::Command) {
        let help = command.render_long_help().to_string().to_lowercase();
        for line in help.lines().map(str::trim).filter(|line| !line.starts_with("- ")) {
            for term in TERMS {
                let told = line.match_indices(term).find(|(at, _)| {
                    !line[..*at].ends_with(|before: char| before.is_alphanumeric() || "-<[`".contains(before))
                });
                assert!(told.is_none(), "{}: {line}", command.get_name());
            }
        }
        for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
            speaks_plainly(inner);
        }
    }
}
