//! Tells whether a process that held a lease still lives, so that a run that was killed
//! holds up the next one on the same machine not a moment longer.
//!
//! A number alone proves nothing: it is given again, and containers that share a store
//! and a host name count their processes each for itself. So a process is named by the
//! kernel's boot, the number space, its number in it, and when it started. Whatever
//! cannot be told counts as alive: then the lease ends by time.

use std::{fs, path::Path};

/// Names this process; `None` where the system does not say enough (not Linux).
pub fn this_process() -> Option<String> {
    let proc = Path::new("/proc");
    let pid = std::process::id();
    let text = fs::read_to_string(proc.join("self/stat")).ok()?;
    let (_, started) = stat(&text)?;
    Some(format!("{} {pid} {started}", space(proc)?))
}

/// Whether a process that was named by [`this_process`] is proved to have ended.
pub(super) fn has_ended(named: &str) -> bool {
    ended_in(Path::new("/proc"), named).unwrap_or(false)
}

fn ended_in(proc: &Path, named: &str) -> Option<bool> {
    let (place, rest) = named.rsplit_once(' ').and_then(|(rest, started)| {
        let (place, pid) = rest.rsplit_once(' ')?;
        Some((place, (pid, started)))
    })?;
    let (pid, started) = rest;
    pid.parse::<u32>().ok()?;
    if space(proc)? != place {
        return None;
    }
    match fs::read_to_string(proc.join(pid).join("stat")) {
        // A zombie runs no more, and waits for a parent that may never ask.
        Ok(text) => {
            stat(&text).map(|(state, since)| matches!(state, 'Z' | 'X') || since != started)
        }
        // Where processes of other users are hidden, everything looks dead; process 1
        // is there always and is nearly always another user's.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::metadata(proc.join("1")).ok().map(|_| true)
        }
        Err(_) => None,
    }
}

/// Where process numbers mean the same: one boot of one kernel, and one number space.
fn space(proc: &Path) -> Option<String> {
    let boot = fs::read_to_string(proc.join("sys/kernel/random/boot_id")).ok()?;
    let numbers = fs::read_link(proc.join("self/ns/pid")).ok()?;
    Some(format!("{} {}", boot.trim(), numbers.display()))
}

/// State and start (in ticks since boot) of a line of `/proc/PID/stat`. The name of the
/// program stands in parentheses and may hold anything, spaces and parentheses too.
fn stat(text: &str) -> Option<(char, &str)> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn renamed(named: &str, part: usize, to: &str) -> String {
        let mut parts: Vec<&str> = named.split(' ').collect();
        parts[part] = to;
        parts.join(" ")
    }

    #[test]
    fn a_process_that_runs_has_not_ended() {
        assert!(!has_ended(&this_process().unwrap()));
    }

    #[test]
    fn a_number_that_was_given_again_is_another_process() {
        let named = this_process().unwrap();
        assert!(has_ended(&renamed(&named, 3, "1")), "it started at another time");
    }

    #[test]
    fn a_process_of_another_boot_or_number_space_cannot_be_told() {
        let named = renamed(&this_process().unwrap(), 3, "1");
        assert!(!has_ended(&renamed(&named, 0, "another-boot")));
        assert!(!has_ended(&renamed(&named, 1, "pid:[1]")));
        for text in ["", "a", "a b", "a b c d", "a b 1/.. 2"] {
            assert!(!has_ended(text), "{text}");
        }
    }

    #[test]
    fn a_child_has_ended_once_it_was_killed_even_if_nobody_asks_for_its_end() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let text = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let (_, started) = stat(&text).unwrap();
        let named = format!("{} {} {started}", space(Path::new("/proc")).unwrap(), child.id());
        assert!(!has_ended(&named));
        child.kill().unwrap();
        while !has_ended(&named) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(has_ended(&named));
    }

    #[test]
    fn where_others_are_hidden_absence_proves_nothing() {
        let proc = tempfile::tempdir().unwrap();
        let at = |path: &str| proc.path().join(path);
        fs::create_dir_all(at("sys/kernel/random")).unwrap();
        fs::create_dir_all(at("self/ns")).unwrap();
        fs::write(at("sys/kernel/random/boot_id"), "boot\n").unwrap();
        std::os::unix::fs::symlink("pid:[7]", at("self/ns/pid")).unwrap();
        assert_eq!(ended_in(proc.path(), "boot pid:[7] 42 99"), None);
        fs::create_dir(at("1")).unwrap();
        assert_eq!(ended_in(proc.path(), "boot pid:[7] 42 99"), Some(true));
        fs::create_dir(at("42")).unwrap();
        let line = "42 (a ) b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0";
        fs::write(at("42/stat"), line).unwrap();
        assert_eq!(ended_in(proc.path(), "boot pid:[7] 42 99"), Some(false));
        assert_eq!(ended_in(proc.path(), "boot pid:[7] 42 98"), Some(true));
    }
}
