//! UnixFS files and directories as DAGs, byte-exact with the named profiles.
