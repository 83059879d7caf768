//! What this machine has: the memory that this process may use, and places for files that nobody keeps.

use std::path::{Path, PathBuf};

/// Part of the memory that samples may take unless told otherwise: three eighths. The rest is for what is worked out beside them, for the
/// cache of what lies in files, and for everything else.
const PART: (u64, u64) = (3, 8);
/// Where nothing is known of the machine.
const UNKNOWN: u64 = 4 << 30;
/// Least budget, however small the machine.
pub const LEAST_BUDGET: u64 = 64 << 20;

/// Bytes of memory that samples may take on this machine, where nobody says otherwise.
#[must_use]
pub fn budget() -> u64 {
    part_of(memory(Path::new("/")).unwrap_or(UNKNOWN))
}

fn part_of(memory: u64) -> u64 {
    (memory / PART.1 * PART.0).max(LEAST_BUDGET)
}

/// Bytes of memory: those of the machine, or fewer where a control group holds this process to them. `None`: not told.
fn memory(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let total = read("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        // `0::/path` in version 2, `4:cpu,memory:/path` in version 1.
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let (mount, files): (_, &[&str]) = if controllers.is_empty() {
            ("sys/fs/cgroup", &["memory.max", "memory.high"])
        } else if controllers.split(',').any(|name| name == "memory") {
            ("sys/fs/cgroup/memory", &["memory.limit_in_bytes"])
        } else {
            ("", &[])
        };
        // Each group above holds its children, too; seen from within a container, the path may not be there at all.
        let groups: Vec<PathBuf> =
            Path::new(path.trim_start_matches('/')).ancestors().map(|group| Path::new(mount).join(group)).collect();
        groups.into_iter().flat_map(|group| files.iter().map(move |file| group.join(file))).collect::<Vec<_>>()
    });
    // `max` is no number, and the largest one of version 1 is more than any machine has.
    let limits = limits.filter_map(|path| read(path.to_str()?)?.trim().parse::<u64>().ok());
    limits.chain(total).min()
}

/// A folder for scratch files: the first of the usual ones that lies on a disk. A file in a memory file system takes memory.
#[must_use]
pub fn scratch() -> PathBuf {
    let usual = [std::env::temp_dir(), PathBuf::from("/var/tmp"), PathBuf::from(".")];
    usual.into_iter().find(|folder| folder.is_dir() && !in_memory(folder)).unwrap_or_else(std::env::temp_dir)
}

/// Whether the files of a folder lie in memory.
#[must_use]
pub fn in_memory(folder: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        // linux/magic.h
        const TMPFS: i64 = 0x0102_1994;
        const RAMFS: i64 = 0x8584_58f6;
        rustix::fs::statfs(folder).is_ok_and(|about| [TMPFS, RAMFS].contains(&about.f_type))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        false
    }
}

/// Bytes of the disk a folder lies on: free for this user, and altogether.
pub fn disk(folder: &Path) -> std::io::Result<(u64, u64)> {
    let about = rustix::fs::statvfs(folder)?;
    let bytes = |blocks: u64| blocks.saturating_mul(about.f_frsize);
    Ok((bytes(about.f_bavail), bytes(about.f_blocks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine made of files.
    fn machine(files: &[(&str, &str)]) -> Option<u64> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        memory(folder.path())
    }

    const EIGHT: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:          123 kB\n");

    #[test]
    fn the_smallest_limit_counts() {
        assert_eq!(machine(&[]), None);
        assert_eq!(machine(&[EIGHT]), Some(8 << 30));
        // Version 2: the group's own, one above it, and none at all.
        let group = ("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(machine(&[EIGHT, group, ("sys/fs/cgroup/a/b/memory.max", "max\n")]), Some(8 << 30));
        assert_eq!(machine(&[EIGHT, group, ("sys/fs/cgroup/a/b/memory.max", "2147483648\n")]), Some(2 << 30));
        let above = ("sys/fs/cgroup/a/memory.high", "1073741824\n");
        assert_eq!(machine(&[EIGHT, group, above]), Some(1 << 30));
        // From within a container the path is the host's, and the files are at the mount.
        assert_eq!(machine(&[EIGHT, group, ("sys/fs/cgroup/memory.max", "1073741824")]), Some(1 << 30));
        // Version 1, whose "none" is a number.
        let group = ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/1\n1:name=systemd:/x\n");
        let unlimited = ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(machine(&[EIGHT, group, unlimited]), Some(8 << 30));
        let limited = ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "3221225472\n");
        assert_eq!(machine(&[EIGHT, group, limited]), Some(3 << 30));
        // A limit above the memory is none.
        let wide = ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "99999999999\n");
        assert_eq!(machine(&[EIGHT, group, wide]), Some(8 << 30));
    }

    #[test]
    fn a_part_of_it_is_for_samples() {
        assert_eq!(part_of(8 << 30), 3 << 30);
        assert_eq!(part_of(1 << 20), LEAST_BUDGET);
        assert!((LEAST_BUDGET..1 << 50).contains(&budget()));
        assert!(scratch().is_dir());
    }
}
