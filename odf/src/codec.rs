//! The exact FlatBuffers bytes of a metadata block, both ways.
