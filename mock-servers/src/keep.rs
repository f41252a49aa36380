//! Keeps a world in a file.

use std::io::Write as _;
use std::path::Path;

/// Replaces a file as a whole, so that a reader never sees half of it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut open = std::fs::File::options();
    open.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        // The file holds the authority's key and the secrets of accounts.
        use std::os::unix::fs::OpenOptionsExt as _;
        open.mode(0o600);
    }
    open.open(&temporary)?.write_all(bytes)?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}
