//! Which metadata block may follow which: the rules of a metadata chain, without I/O.
