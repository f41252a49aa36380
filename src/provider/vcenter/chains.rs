//! Which machines' disks go on from those of another: linked clones, and whatever else was
//! branched off a snapshot.
//!
//! Pure. A disk names the file that it writes, and below that what it goes on from, down to
//! the base. A machine's disks lie in folders of its own; a file further down that lies in
//! another machine's folder is one that the other may not lose.

use super::vim::Node;
use std::collections::BTreeSet;

/// Longer than any chain that the product allows, which is 32 snapshots.
const CHAIN_MAX: usize = 256;

/// The folders of one machine's disks, and those of other machines that it cannot do without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Folders {
    pub own: BTreeSet<String>,
    pub borrowed: BTreeSet<String>,
}

impl Folders {
    /// Reads a machine's devices.
    pub fn of(devices: &[Node]) -> Self {
        let disks = || devices.iter().filter(|device| device.is_a("VirtualDisk"));
        let first = |disk: &Node| folder(disk.word_at("backing.fileName")?);
        let own: BTreeSet<String> = disks().filter_map(first).collect();
        let below = disks().flat_map(chain).filter_map(folder);
        let borrowed = below.filter(|it| !own.contains(it)).collect();
        Self { own, borrowed }
    }

    /// Whether the machine goes on from one whose disks lie in these folders.
    pub fn hangs_on(&self, other: &Folders) -> bool {
        !self.borrowed.is_disjoint(&other.own)
    }
}

/// The files of a disk, from the one that it writes to the base.
fn chain(disk: &Node) -> Vec<&str> {
    let mut files = Vec::new();
    let mut backing = disk.child("backing");
    while let Some(at) = backing.filter(|_| files.len() < CHAIN_MAX) {
        files.extend(at.word_at("fileName"));
        backing = at.child("parent");
    }
    files
}

/// The folder of a file, with its datastore: `[fast] web-1`.
fn folder(path: &str) -> Option<String> {
    path.rsplit_once('/').map(|(folder, _)| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, text: &str) -> Node {
        Node { text: text.into(), ..Node::new(name) }
    }

    /// A disk with its files, the one that it writes first.
    fn disk(files: &[&str]) -> Node {
        let mut backing: Option<Node> = None;
        for file in files.iter().rev() {
            let name = if *file == files[0] { "backing" } else { "parent" };
            let mut at = Node::new(name);
            at.children.push(text("fileName", file));
            at.children.extend(backing.take());
            backing = Some(at);
        }
        let mut disk = Node { data_type: Some("VirtualDisk".into()), ..Node::new("device") };
        disk.children.extend(backing);
        disk
    }

    #[test]
    fn snapshots_of_ones_own_are_no_loan() {
        let files = ["[fast] a/a-000002.vmdk", "[fast] a/a-000001.vmdk", "[fast] a/a.vmdk"];
        let folders = Folders::of(&[disk(&files), disk(&["[slow] a_1/a.vmdk"])]);
        assert_eq!(folders.own, ["[fast] a".to_owned(), "[slow] a_1".to_owned()].into());
        assert_eq!(folders.borrowed, BTreeSet::new());
    }

    #[test]
    fn a_linked_clone_hangs_on_its_source_and_not_on_its_siblings() {
        let source = Folders::of(&[disk(&["[fast] src/src-000001.vmdk", "[fast] src/src.vmdk"])]);
        let one = Folders::of(&[disk(&["[fast] one/one.vmdk", "[fast] src/src.vmdk"])]);
        let two = Folders::of(&[disk(&["[fast] two/two.vmdk", "[fast] src/src.vmdk"])]);
        assert!(one.hangs_on(&source) && two.hangs_on(&source));
        assert!(!one.hangs_on(&two) && !source.hangs_on(&one));
        // A clone of a clone hangs on both.
        let deep = Folders::of(&[disk(&[
            "[fast] deep/deep.vmdk",
            "[fast] one/one.vmdk",
            "[fast] src/src.vmdk",
        ])]);
        assert!(deep.hangs_on(&one) && deep.hangs_on(&source) && !deep.hangs_on(&two));
        // A folder of the same name on another datastore is another folder.
        let other = Folders::of(&[disk(&["[slow] src/src.vmdk"])]);
        assert!(!one.hangs_on(&other));
    }
}
