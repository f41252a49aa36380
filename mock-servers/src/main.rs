//! Serves a simulated hypervisor until it is interrupted.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mock_servers::pve::{Options, Release, Switches, Timing, World, serve};

/// Simulators of the hypervisors that novahost manages.
#[derive(Parser)]
#[command(name = "mock-servers")]
struct Cli {
    #[command(subcommand)]
    product: Product,
}

#[derive(Subcommand)]
enum Product {
    /// A Proxmox VE cluster.
    Pve(Pve),
}

#[derive(Args)]
struct Pve {
    /// World to start from, as YAML
    #[arg(long)]
    world: PathBuf,
    /// TCP port; 0 takes any
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Product release to play
    #[arg(long, value_enum, default_value = "9.2")]
    release: ReleaseName,
    /// Append each exchange to this file
    #[arg(long)]
    record: Option<PathBuf>,
    /// Keep the world in this file
    #[arg(long)]
    persist: Option<PathBuf>,
    /// How long things take
    #[arg(long, value_enum, default_value = "fast")]
    timing: TimingName,
    /// Write the cluster's certificate authority to this file
    #[arg(long)]
    ca_out: Option<PathBuf>,
    /// Seed of durations, MACs and UUIDs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take the other reading of every unconfirmed point
    #[arg(long)]
    flipped: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReleaseName {
    #[value(name = "8.4")]
    V8_4,
    #[value(name = "9.2")]
    V9_2,
}

#[derive(Clone, Copy, ValueEnum)]
enum TimingName {
    Fast,
    Realistic,
    Instant,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Product::Pve(pve) = Cli::parse().product;
    let world = World::from_yaml(&std::fs::read_to_string(&pve.world)?)?;
    let release = match pve.release {
        ReleaseName::V8_4 => Release::V8_4,
        ReleaseName::V9_2 => Release::V9_2,
    };
    let options = Options {
        timing: match pve.timing {
            TimingName::Fast => Timing::fast(),
            TimingName::Realistic => Timing::realistic(),
            TimingName::Instant => Timing::instant(),
        },
        switches: if pve.flipped { Switches::flipped() } else { Switches::default() },
        record: pve.record,
        persist: pve.persist,
        port: pve.port,
        ..Options::new(release, pve.seed)
    };
    let server = serve(world, options).await?;
    if let Some(path) = &pve.ca_out {
        std::fs::write(path, server.ca_pem())?;
    }
    announce(&server.endpoint(), pve.ca_out.as_deref(), &server.leaf_sha256());
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}

/// Whoever starts the server needs these three lines to reach it.
#[allow(clippy::print_stdout)]
fn announce(endpoint: &str, ca: Option<&std::path::Path>, fingerprint: &str) {
    println!("endpoint {endpoint}");
    if let Some(ca) = ca {
        println!("ca {}", ca.display());
    }
    println!("fingerprint {fingerprint}");
}
