//! Serves a simulated hypervisor until it is interrupted.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mock_servers::{pve, vcenter};

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
    /// A vCenter.
    Vcenter(Common),
}

#[derive(Args)]
struct Pve {
    #[command(flatten)]
    common: Common,
    /// Product release to play
    #[arg(long, value_enum, default_value = "9.2")]
    release: ReleaseName,
}

#[derive(Args)]
struct Common {
    /// World to start from, as YAML
    #[arg(long)]
    world: PathBuf,
    /// TCP port; 0 takes any
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Append each exchange to this file
    #[arg(long)]
    record: Option<PathBuf>,
    /// Keep the world in this file
    #[arg(long)]
    persist: Option<PathBuf>,
    /// How long things take
    #[arg(long, value_enum, default_value = "fast")]
    timing: TimingName,
    /// Write the certificate authority to this file
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
    match Cli::parse().product {
        Product::Pve(args) => serve_pve(args).await,
        Product::Vcenter(args) => serve_vcenter(args).await,
    }
}

async fn serve_pve(Pve { common, release }: Pve) -> anyhow::Result<()> {
    let world = pve::World::from_yaml(&std::fs::read_to_string(&common.world)?)?;
    let release = match release {
        ReleaseName::V8_4 => pve::Release::V8_4,
        ReleaseName::V9_2 => pve::Release::V9_2,
    };
    let switches = if common.flipped { pve::Switches::flipped() } else { pve::Switches::default() };
    let options = pve::Options {
        timing: match common.timing {
            TimingName::Fast => pve::Timing::fast(),
            TimingName::Realistic => pve::Timing::realistic(),
            TimingName::Instant => pve::Timing::instant(),
        },
        switches,
        record: common.record,
        persist: common.persist,
        port: common.port,
        ..pve::Options::new(release, common.seed)
    };
    let server = pve::serve(world, options).await?;
    if let Some(path) = &common.ca_out {
        std::fs::write(path, server.ca_pem())?;
    }
    announce(&server.endpoint(), common.ca_out.as_deref(), &server.leaf_sha256());
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}

async fn serve_vcenter(common: Common) -> anyhow::Result<()> {
    let world = vcenter::World::from_yaml(&std::fs::read_to_string(&common.world)?)?;
    let switches =
        if common.flipped { vcenter::Switches::flipped() } else { vcenter::Switches::default() };
    let options = vcenter::Options {
        timing: match common.timing {
            TimingName::Fast => vcenter::Timing::fast(),
            TimingName::Realistic => vcenter::Timing::realistic(),
            TimingName::Instant => vcenter::Timing::instant(),
        },
        switches,
        record: common.record,
        persist: common.persist,
        port: common.port,
        ..vcenter::Options::new(common.seed)
    };
    let server = vcenter::serve(world, options).await?;
    if let Some(path) = &common.ca_out {
        std::fs::write(path, server.ca_pem())?;
    }
    announce(&server.endpoint(), common.ca_out.as_deref(), &server.leaf_sha256());
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
