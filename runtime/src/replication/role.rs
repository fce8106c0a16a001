//! Whether a node is a primary or a replica.

/// What a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Its data change by its clients' commands.
    #[default]
    Primary,
    /// Its data follow those of another node.
    Replica {
        /// The name or address of that node.
        host: String,
        /// Its port.
        port: u16,
    },
}
