//! Errors of polling sources.

use odf::poll::{PollError, TemplateError};

use super::{MEND, of_io};
use crate::failure::{Failure, Kind, chain};

impl From<PollError> for Failure {
    fn from(error: PollError) -> Self {
        let failure = |kind| Failure::new(kind, chain(&error));
        match &error {
            PollError::Unsupported { instead, .. } => failure(Kind::Refused).next(*instead),
            PollError::NotAgreed(_) | PollError::Private { .. } => failure(Kind::NotApproved)
                .next("`odfs approve DATASET` shows what the source does and lets it; nothing was taken"),
            PollError::OtherFile { .. } => failure(Kind::NotApproved).next(
                "pull in the directory where it was approved, or `odfs approve DATASET --revoke` and approve it here",
            ),
            PollError::LedAstray { .. } => failure(Kind::Refused)
                .next("if it is meant, name that address in the dataset's manifest; nothing was sent there"),
            PollError::Downgrade { .. } => failure(Kind::Refused)
                .next("ask its owner for an https address, or name the http one in the manifest; nothing was taken"),
            PollError::OutOfBounds { setting, .. } => failure(Kind::Refused).next(format!(
                "`odfs config set {setting} VALUE` with it on the list allows it; nothing was taken"
            )),
            PollError::Template(TemplateError::NoValue { variables, .. }) => failure(Kind::Usage).next(format!(
                "set {} in the environment, or give the template a default: ${{{{ env.NAME || 'default' }}}}",
                variables.join(" or ")
            )),
            PollError::Template(_)
            | PollError::EventTime(_)
            | PollError::Url { .. }
            | PollError::Header { .. }
            | PollError::Glob { .. }
            | PollError::Order(_) => failure(Kind::BadInput).next(MEND),
            PollError::NotFound(_) => failure(Kind::NotFound).next("check the source; nothing was taken"),
            PollError::Unreachable { .. } | PollError::Status { .. } => {
                failure(Kind::Unreachable).next("check the URL and the connection, then pull again; nothing was taken")
            }
            PollError::Length { .. } => failure(Kind::Unreachable)
                .next("nothing was taken; pull again, and tell the server's owner if it stays so"),
            PollError::NoRoom { .. } => Failure::new(Kind::DiskFull, chain(&error))
                .next("free some space, or check that the archive is what it should be; nothing was taken"),
            PollError::SameName { .. } => failure(Kind::BadInput).next("rename one of them; nothing was taken"),
            PollError::BadFile { .. } | PollError::TooLarge { .. } | PollError::Archive { .. } => {
                failure(Kind::BadInput).next("mend the data or the source; nothing was taken")
            }
            PollError::Changing(_) => failure(Kind::Busy).next("pull again when nobody writes it; nothing was taken"),
            PollError::Pipe { .. } => {
                failure(Kind::BadInput).next("run the command by hand on the data; nothing was taken")
            }
            PollError::Io { source, .. } => of_io(&error, source),
            PollError::Stopped => Failure::interrupted(),
            _ => failure(Kind::General),
        }
    }
}
