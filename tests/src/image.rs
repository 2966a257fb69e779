//! An ext4 file system in a file, on a loop device: a real disk that can be full, and whose power can be cut. For tests
//! within `private_mounts`, whose end detaches whatever they leave behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// How long an unmount waits for processes that are just ending.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `EXT4_IOC_SHUTDOWN` does with what is not on the disk yet; its argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// Everything is written first: the file system is merely gone.
    Flush = 0,
    /// The journal is written, data are not.
    JournalOnly = 1,
    /// Nothing is: a power cut.
    Nothing = 2,
}

/// An image, mounted as long as the value lives.
pub struct Image {
    file: PathBuf,
    at: PathBuf,
    is_mounted: bool,
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program} {args:?}: {said}")) }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

impl Image {
    /// Makes an image of this size in `folder`, and mounts it there.
    pub fn make(folder: &Path, bytes: u64) -> Self {
        let (file, at) = (folder.join("image"), folder.join("image-mounted"));
        File::create(&file).and_then(|file| file.set_len(bytes)).expect("the image's file");
        std::fs::create_dir(&at).expect("the mount point");
        run("mkfs.ext4", &["-q", "-F", text(&file)]).expect("a file system");
        let mut image = Self { file, at, is_mounted: false };
        image.mount();
        image
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Mounts it, as after a start of the machine.
    pub fn mount(&mut self) {
        run("mount", &["-t", "ext4", "-o", "loop", text(&self.file), text(&self.at)]).expect("it can be mounted");
        self.is_mounted = true;
    }

    /// Unmounts it, once all processes that used it have ended.
    pub fn unmount(&mut self) {
        let patience = Instant::now() + PATIENCE;
        while let Err(said) = run("umount", &[text(&self.at)]) {
            assert!(Instant::now() < patience, "{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.is_mounted = false;
    }

    /// From now on nothing reaches the disk any more, in the middle of whatever is under way.
    pub fn shut_down(&self, shutdown: Shutdown) {
        let script = r#"open(my $f, "<", $ARGV[0]) or die $!; my $flag = pack("L", $ARGV[1]);
            ioctl($f, 0x8004587d, $flag) or die "EXT4_IOC_SHUTDOWN: $!";"#;
        let flag = (shutdown as u32).to_string();
        run("perl", &["-e", script, text(&self.at), &flag]).expect("the file system can be shut down");
    }

    /// Takes all space that is left into a file of its own; returns that file, to be removed.
    pub fn fill(&self) -> PathBuf {
        let ballast = self.at.join("ballast");
        let file = File::create(&ballast).expect("a file");
        let (mut end, mut piece) = (0, 64 << 20);
        while piece >= 4096 {
            match fallocate(&file, FallocateFlags::empty(), end, piece) {
                Ok(()) => end += piece,
                Err(_) => piece /= 2,
            }
        }
        let left = statvfs(&self.at).expect("figures").f_bavail;
        assert!(end > 0 && left < 16, "{left} blocks are left");
        ballast
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.is_mounted {
            // What still uses it ends with the test's process, and the mount with that.
            let _ = run("umount", &["--lazy", text(&self.at)]);
        }
    }
}
