use super::*;
use std::fs;
use std::path::Path;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("a file");
}

fn read(root: &Path, first: &str) -> Sources {
    read_all(&Disk::new(root).expect("the root is there"), first)
}

fn codes(sources: &Sources) -> Vec<&'static str> {
    sources.report.iter().map(|problem| problem.code).collect()
}

fn paths(sources: &Sources) -> Vec<&str> {
    sources.documents.iter().map(|document| sources.map.path(document.file)).collect()
}

#[test]
fn files_come_level_by_level_and_sorted_and_each_once() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "a.yaml", "include: [\"**/*.yaml\", z/y.yaml]\n");
    write(root.path(), "z/y.yaml", "include: [../a.yaml, deep/*.yaml]\n");
    write(root.path(), "z/deep/x.yaml", "");
    write(root.path(), "b.yaml", "");
    write(root.path(), ".git/hidden.yaml", "broken: [\n");
    write(root.path(), "b.yml", "broken: [\n");
    let sources = read(root.path(), "a.yaml");
    assert_eq!(codes(&sources), Vec::<&str>::new());
    assert_eq!(paths(&sources), ["a.yaml", "b.yaml", "z/deep/x.yaml", "z/y.yaml"]);
    let digests: Vec<&String> = sources.digests.keys().collect();
    assert_eq!(digests, ["a.yaml", "b.yaml", "z/deep/x.yaml", "z/y.yaml"]);
    assert_eq!(
        sources.digests["b.yaml"],
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn a_star_does_not_go_through_folders() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "main.yaml", "include: [infra/*.yaml]\n");
    write(root.path(), "infra/a.yaml", "");
    write(root.path(), "infra/deep/b.yaml", "");
    assert_eq!(paths(&read(root.path(), "main.yaml")), ["main.yaml", "infra/a.yaml"]);
}

#[cfg(unix)]
#[test]
fn a_symlink_out_of_the_root_is_refused_and_one_inside_is_followed() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().expect("a folder");
    write(outside.path(), "secret.yaml", "secret: 1\n");
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "main.yaml", "include: [\"*.yaml\", out/*.yaml]\n");
    write(root.path(), "data/real.yaml", "");
    symlink(root.path().join("data/real.yaml"), root.path().join("link.yaml")).expect("a link");
    symlink(root.path().join("data"), root.path().join("data/loop")).expect("a link");
    symlink(outside.path().join("secret.yaml"), root.path().join("leak.yaml")).expect("a link");
    symlink(outside.path(), root.path().join("out")).expect("a link");
    let sources = read(root.path(), "main.yaml");
    assert_eq!(codes(&sources), ["outside-root", "outside-root"]);
    assert_eq!(paths(&sources), ["main.yaml", "link.yaml"]);
    assert!(!sources.digests.contains_key("leak.yaml"));
    write(root.path(), "circle.yaml", "include: [\"data/**/*.yaml\"]\n");
    let sources = read(root.path(), "circle.yaml");
    assert_eq!((codes(&sources).len(), paths(&sources).len()), (0, 2));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_instead_of_waited_for() {
    let root = tempfile::tempdir().expect("a folder");
    let made = std::process::Command::new("mkfifo").arg(root.path().join("pipe.yaml")).status();
    if made.is_ok_and(|status| status.success()) {
        write(root.path(), "main.yaml", "include: [pipe.yaml]\n");
        assert_eq!(codes(&read(root.path(), "main.yaml")), ["unreadable-file"]);
    }
}

#[test]
fn a_first_file_that_is_not_there_is_named() {
    let root = tempfile::tempdir().expect("a folder");
    let sources = read(root.path(), "main.yaml");
    assert_eq!(codes(&sources), ["file-not-found"]);
    assert!(sources.documents.is_empty());
}

#[test]
fn data_is_read_relative_to_the_file_that_names_it_and_hashed_once() {
    let root = tempfile::tempdir().expect("a folder");
    write(root.path(), "main.yaml", "include: [sub/part.yaml]\n");
    write(root.path(), "sub/part.yaml", "key: file\n");
    write(root.path(), "keys/a.pub", "a\n");
    write(root.path(), "big.pub", &"x".repeat(DATA_BYTES_MAX + 1));
    let tree = Disk::new(root.path()).expect("the root is there");
    let mut sources = read_all(&tree, "main.yaml");
    let part = sources.documents[1].root.span;
    let wanted = |path: &str| DataRef { span: part, path: path.into() };
    let refs =
        ["../keys/a.pub", "./../keys/../keys/a.pub", "../../up.pub", "/etc/passwd", "../big.pub"];
    let found = sources.read_data(&tree, &refs.into_iter().map(wanted).collect());
    assert_eq!(found.len(), 2);
    assert!(found.values().all(|file| file.path == "keys/a.pub" && &*file.text == "a\n"));
    let mut problems = codes(&sources);
    problems.sort_unstable();
    assert_eq!(problems, ["file-too-large", "outside-root", "outside-root"]);
    assert!(sources.digests.contains_key("keys/a.pub"));
}

#[test]
fn paths_are_joined_without_leaving_the_root() {
    assert_eq!(join("a/b", "../c.yaml").as_deref(), Some("a/c.yaml"));
    assert_eq!(join("", "./x//y").as_deref(), Some("x/y"));
    assert_eq!(join("a", "../../x"), None);
    assert_eq!(join("a", "/x"), None);
}
