//! `odfs ipfs`: the commands of Kubo's `ipfs`, with the same flags and the same output.

use clap::Subcommand;

use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

mod add;
mod block;
mod cat;
mod dag;
mod get;
mod ignore;
mod ls;
mod name;
mod path;
mod pin;
mod source;
mod swarm;

/// Who pins what these commands keep.
const PIN_OWNER: &str = "ipfs";

/// IPFS commands with Kubo's flags and output
#[derive(Subcommand, Debug)]
pub(crate) enum IpfsCommand {
    Add(add::AddArgs),
    Cat(cat::CatArgs),
    Get(get::GetArgs),
    Ls(ls::LsArgs),
    #[command(subcommand)]
    Block(block::BlockCommand),
    #[command(subcommand)]
    Dag(dag::DagCommand),
    #[command(subcommand)]
    Name(name::NameCommand),
    #[command(subcommand)]
    Pin(pin::PinCommand),
    #[command(subcommand)]
    Swarm(swarm::SwarmCommand),
}

pub(super) fn run(command: &IpfsCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    match command {
        IpfsCommand::Add(args) => add::run(args, session, io),
        IpfsCommand::Cat(args) => cat::run(args, session, io),
        IpfsCommand::Get(args) => get::run(args, session, io),
        IpfsCommand::Ls(args) => ls::run(args, session, io),
        IpfsCommand::Block(command) => block::run(command, session, io),
        IpfsCommand::Dag(command) => dag::run(command, session, io),
        IpfsCommand::Name(command) => name::run(command, session, io),
        IpfsCommand::Pin(command) => pin::run(command, session, io),
        IpfsCommand::Swarm(command) => swarm::run(command, session, io),
    }
}

/// A name as Kubo prints it: as it is when every character can be seen and none is a backslash, else with Go's escapes.
fn escaped(name: &str) -> String {
    // After another character, so that a combining mark counts as what can be seen.
    let is_seen = |c: char| c != '\\' && !c.is_control() && (c == '"' || c == '\'' || format!("a{c}").escape_debug().count() == 2);
    if name.chars().all(is_seen) {
        return name.to_owned();
    }
    let mut text = String::with_capacity(name.len() + 8);
    for c in name.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\u{7}' => text.push_str("\\a"),
            '\u{8}' => text.push_str("\\b"),
            '\u{b}' => text.push_str("\\v"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if is_seen(c) => text.push(c),
            c => text.push_str(&match u32::from(c) {
                code @ (..0x20 | 0x7f) => format!("\\x{code:02x}"),
                code @ ..0x1_0000 => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn names_are_printed_as_kubo_prints_them() {
        for name in ["a b", "\u{e9}", "e\u{301}", "\u{1f680}", "\u{5d0}", "\"q\"", "it's", "%41"] {
            assert_eq!(escaped(name), name);
        }
        assert_eq!(escaped("a\\b\"c"), "a\\\\b\"c");
        assert_eq!(escaped("\u{1b}[2J\n\u{7f}\u{a0}\u{200b}\u{e0001}"), "\\x1b[2J\\n\\x7f\\u00a0\\u200b\\U000e0001");
    }
}
