//! Where a configuration begins: its first file and its root.

use super::Disk;
use std::path::Path;

/// The file that is read when a folder is named.
pub const FILE_NAME: &str = "novahost.yaml";

/// The tool's own settings; its folder is the root unless another one is named.
pub const SETTINGS_NAME: &str = "novahost.toml";

/// The root as a tree, and the first file's path in it.
pub fn open(path: &Path, root: Option<&Path>) -> Result<(Disk, String), String> {
    let shown = path.display();
    let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("`{}` does not exist", path.display()),
        _ => format!("`{shown}` cannot be read: {error}"),
    };
    // The folder is made absolute, the file is not: where a symlink of that name leads is checked against the root.
    let name = path.file_name().ok_or_else(|| format!("`{shown}` names no file"))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let folder = folder.canonicalize().map_err(unreadable)?;
    let root = root.unwrap_or_else(|| nearest_settings(&folder).unwrap_or(&folder));
    let tree = Disk::new(root)
        .map_err(|error| format!("the root `{}` cannot be read: {error}", root.display()))?;
    if !tree.root().is_dir() {
        return Err(format!("the root `{}` is no folder", root.display()));
    }
    let file = folder.join(name);
    let below = file
        .strip_prefix(tree.root())
        .map_err(|_| format!("`{shown}` is outside of the root `{}`", tree.root().display()))?;
    let parts: Option<Vec<&str>> = below.iter().map(std::ffi::OsStr::to_str).collect();
    let first = parts.ok_or_else(|| format!("the path `{shown}` is not UTF-8"))?.join("/");
    Ok((tree, first))
}

/// The nearest folder upwards that holds the tool's settings.
fn nearest_settings(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| folder.join(SETTINGS_NAME).is_file())
}
