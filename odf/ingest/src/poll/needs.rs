//! What a polling source would do on this machine, told before it does any of it.

use std::fmt;

use odf_metadata::{FetchStep, PrepStep, SetPollingSource};
use url::Url;

use super::{reach, template};

/// What a source would do, in the words of its metadata block. Strangers may have written all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The URL that is asked.
    pub url: Option<String>,
    /// Host and port in it, if they are of this machine or its network.
    pub private: Option<String>,
    /// The path or pattern of the files that are read.
    pub files: Option<String>,
    /// The headers that are sent and have templates, as `NAME: VALUE`.
    pub headers: Vec<String>,
    /// Whether the URL, a header or the path has templates.
    pub templates: bool,
    /// The variables of the environment that these name, each once, in order.
    pub variables: Vec<String>,
    /// The commands that the data goes through.
    pub commands: Vec<Vec<String>>,
}

impl Needs {
    /// Those of a source.
    pub fn of(source: &SetPollingSource) -> Self {
        let mut needs = Self::default();
        let mut texts: Vec<&str> = Vec::new();
        match &source.fetch {
            FetchStep::Url { url, headers, .. } => {
                texts.push(url);
                let headers = || headers.iter().flatten();
                texts.extend(headers().map(|header| header.value.as_str()));
                let templates = headers().filter(|header| template::is_template(&header.value));
                needs.headers = templates
                    .map(|header| format!("{}: {}", header.name, header.value))
                    .collect();
                let parsed = Url::parse(url).ok();
                match parsed.as_ref().map(Url::scheme) {
                    Some("file") => needs.files = Some(url.clone()),
                    _ => needs.url = Some(url.clone()),
                }
                needs.private = parsed.as_ref().and_then(reach::private_host);
            }
            FetchStep::FilesGlob { path, .. } => {
                texts.push(path);
                needs.files = Some(path.clone());
            }
            // These are not fetched at all.
            FetchStep::Container { .. } | FetchStep::Mqtt { .. } | FetchStep::EthereumLogs { .. } => {}
        }
        needs.templates = texts.iter().any(|text| template::is_template(text));
        let variables = texts.iter().flat_map(|text| template::variables(text));
        needs.variables = variables.map(str::to_owned).collect();
        needs.variables.sort_unstable();
        needs.variables.dedup();
        let steps = source.prepare.as_deref().unwrap_or_default().iter();
        needs.commands = steps
            .filter_map(|step| match step {
                PrepStep::Pipe { command } => Some(command.clone()),
                PrepStep::Decompress { .. } => None,
            })
            .collect();
        needs
    }

    /// Whether the owner of the machine has to agree. Asking a public web server for a URL that is written out needs no
    /// consent.
    pub fn ask_for_consent(&self) -> bool {
        self.private.is_some() || self.files.is_some() || self.templates || !self.commands.is_empty()
    }

    /// What a source would do, one thing a line, each beginning with a verb. What strangers wrote is quoted, and cannot
    /// disguise itself with control characters.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(files) = &self.files {
            lines.push(format!("reads files of this machine: {}", shown(files)));
        }
        if let Some(url) = &self.url {
            lines.push(format!("asks {}", shown(url)));
        }
        if let Some(host) = &self.private {
            lines.push(reaches(host));
        }
        let headers = self.headers.iter();
        lines.extend(headers.map(|header| format!("sends the header `{}`", shown(header))));
        if !self.variables.is_empty() {
            lines.push(format!(
                "uses the variables {} of your environment",
                self.variables.join(", ")
            ));
        } else if self.templates {
            lines.push("has templates, so that what it becomes is not what it says".to_owned());
        }
        let commands = self.commands.iter();
        lines.extend(commands.map(|command| format!("runs the command `{}`", command_in_words(command))));
        lines
    }
}

/// What it means that a source asks a host of this machine or its network, beginning with a verb.
pub fn reaches(host: &str) -> String {
    format!("reaches {}, which is of this machine or its network", shown(host))
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join(", "))
    }
}

/// A command as one would type it.
fn command_in_words(command: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,%+@".contains(c);
    let words = command
        .iter()
        .map(|word| match !word.is_empty() && word.chars().all(plain) {
            true => word.clone(),
            false => format!("'{}'", shown(&word.replace('\'', "'\\''"))),
        });
    words.collect::<Vec<_>>().join(" ")
}

/// A text of a stranger, with everything in it that could disguise the rest spelled out.
fn shown(text: &str) -> String {
    let hides = |c: char| {
        let invisible = matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
        c.is_control() || invisible
    };
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match hides(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
        out
    })
}
