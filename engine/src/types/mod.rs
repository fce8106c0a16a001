//! Data structures that know no commands.
