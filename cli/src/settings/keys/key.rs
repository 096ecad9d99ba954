//! What is known of one setting.

use toml::Value;

use super::super::Settings;

/// One thing that can be set.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    /// Dotted name, as in the file.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) about: &'static str,
    /// The value in force, as it would stand in the file; nothing stands for "decided by odfs".
    pub(crate) show: fn(&Settings) -> Option<Value>,
    /// Takes a value of the file. The error says what was expected.
    pub(in crate::settings) set: fn(&mut Settings, Value) -> Result<(), String>,
}
