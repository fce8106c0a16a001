//! What is written beside the files that were checked.

use super::CheckError;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Writes a new file of these parts, safe from a crash once this returns. Never replaces a file.
pub fn write(path: &Path, parts: &[&[u8]]) -> Result<(), CheckError> {
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => CheckError::Exists(path.display().to_string()),
        _ => CheckError::file(path, &error),
    })?;
    let written = parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all());
    written.and_then(|()| sync_folder(path)).map_err(|error| CheckError::file(path, &error))
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
