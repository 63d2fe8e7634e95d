//! What a process has in memory, as the kernel counts it.

/// What a process has in RAM, in bytes.
pub fn resident(pid: u32) -> u64 {
    of(pid, "VmRSS:")
}

/// The most that it ever had.
pub fn resident_peak(pid: u32) -> u64 {
    of(pid, "VmHWM:")
}

/// How many files it has open, connections among them.
pub fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// What of its memory lies in huge pages.
pub fn huge_pages(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/smaps_rollup"), "AnonHugePages:")
}

fn of(pid: u32, name: &str) -> u64 {
    field(&format!("/proc/{pid}/status"), name)
}

fn field(file: &str, name: &str) -> u64 {
    let status = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no {name} in {status}")) << 10
}
