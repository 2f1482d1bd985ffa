//! A memory hog: takes memory, touches every page, keeps it until its standard input ends.

use std::io::{self, Read, Write};

use crate::size;

/// Flags of `lab work hog`.
#[derive(Debug, clap::Args)]
pub struct HogArgs {
    /// How much
    #[arg(long, value_parser = size::parse)]
    memory: u64,
}

/// Says `ready` once every page is there.
pub fn take(args: &HogArgs) -> io::Result<()> {
    let bytes = usize::try_from(args.memory).map_err(io::Error::other)?;
    let mut held = Vec::with_capacity(bytes / 4096);
    for _ in 0..bytes / 4096 {
        held.push([1_u8; 4096]);
    }
    println!("ready");
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    // The pages are needed until here; without a use the optimiser might not keep them.
    let kept: usize = held.iter().map(|page| usize::from(page[0])).sum();
    println!("{kept}");
    Ok(())
}
