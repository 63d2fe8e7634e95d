//! Building the simulators from a copy of the tree, and running programs with an end to their time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which of the simulators a program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavour {
    /// The core simulator alone, without the server's dependencies: built in seconds.
    Core,
    /// Both.
    Cluster,
}

impl Flavour {
    /// Its simulator's name on the command line.
    pub fn simulator(self) -> &'static str {
        match self {
            Flavour::Core => "core",
            Flavour::Cluster => "cluster",
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code; `None` if a signal ended it.
    Exit(Option<i32>),
    /// Its time was up.
    Timeout,
}

/// Where things are built.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// The copy of the tree.
    pub tree: PathBuf,
    /// The folder that Cargo builds in, the programs that were built, and what they print.
    pub dir: PathBuf,
}

/// A build that takes longer finds nothing. The first one has all dependencies to build.
const BUILD_TIMEOUT: Duration = Duration::from_secs(2 * 3_600);

/// How often a running program is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

impl Workshop {
    /// Builds the simulator program from the copy as it is now, and puts it aside under `name`.
    ///
    /// # Errors
    /// What the compiler said, or where it is written.
    pub fn build(&self, name: &str, flavour: Flavour, each: &mut dyn FnMut()) -> Result<PathBuf, String> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.tree).args([
            "build",
            "--locked",
            "-p",
            "quorate-sim",
            "--bin",
            "quorate-sim",
        ]);
        cargo.args(["--profile", "mutants"]).arg("--target-dir").arg(self.target());
        if flavour == Flavour::Core {
            cargo.arg("--no-default-features");
        }
        let log = self.output(&format!("{name}-{}-build", flavour.simulator()));
        let failed = |what: &str| Err(format!("the build {what}: see {}", log.display()));
        let at = |path: &Path, error: &io::Error| format!("{}: {error}", path.display());
        match run(&mut cargo, &log, BUILD_TIMEOUT, each).map_err(|error| at(&log, &error))? {
            Ended::Exit(Some(0)) => {}
            Ended::Exit(_) => return failed("failed"),
            Ended::Timeout => return failed("took too long"),
        }
        let built = self.target().join("mutants").join("quorate-sim");
        let kept = self.dir.join("bin").join(format!("{name}-{}", flavour.simulator()));
        // Cargo's own file is replaced by the next build, and may be the same file as its cached one: copied.
        fs::create_dir_all(self.dir.join("bin")).map_err(|error| at(&self.dir, &error))?;
        fs::copy(&built, &kept).map_err(|error| at(&built, &error))?;
        Ok(kept)
    }

    /// Where a program's output goes.
    pub fn output(&self, name: &str) -> PathBuf {
        self.dir.join("output").join(format!("{name}.txt"))
    }

    fn target(&self) -> PathBuf {
        self.dir.join("target")
    }
}

/// Runs a program to its end, or ends it when its time is up. `each` is called again and again meanwhile.
///
/// # Errors
/// If it cannot be started, or its output cannot be written.
#[allow(clippy::disallowed_methods, reason = "outside every run: how long a program may take is real time")]
pub fn run(
    command: &mut Command,
    output: &Path,
    timeout: Duration,
    each: &mut dyn FnMut(),
) -> io::Result<Ended> {
    if let Some(dir) = output.parent() {
        fs::create_dir_all(dir)?;
    }
    let file = File::create(output)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let begin = Instant::now();
    let mut running = Running(command.spawn()?);
    loop {
        if let Some(status) = running.0.try_wait()? {
            return Ok(Ended::Exit(status.code()));
        }
        if begin.elapsed() >= timeout {
            return Ok(Ended::Timeout);
        }
        each();
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// A program that does not outlive the one who waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if it has ended: then all is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
