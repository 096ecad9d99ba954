//! From a table in some format to an AddData event.
