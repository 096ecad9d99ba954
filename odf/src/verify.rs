//! Every hash and rule of a dataset checked again.
