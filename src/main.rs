//! The one binary. Everything it does is in [`quorate::cli`].

use std::process::ExitCode;

/// Requests are small and many, and what one thread allocates another one frees: see ARCHITECTURE.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate::cli::main()
}
