//! `miroir-proxy`: one Meilisearch endpoint over many nodes.

mod app;
mod http;
mod serve;
mod telemetry;
mod workers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use miroir_core::config::Config;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One Meilisearch endpoint over many nodes: stripes indexes, mirrors them, and answers as one server would.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// The configuration, a YAML file. `miroir-proxy config print-defaults` writes one to begin with.
    #[arg(long, short, value_name = "FILE", global = true, env = "MIROIR_CONFIG")]
    config: Option<PathBuf>,
    /// Override one key of the configuration, for example `--set server.port=7701`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value, global = true)]
    overrides: Vec<(String, String)>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Look at the configuration without starting.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration would be accepted.
    Check,
    /// Write every key with its default and what it means.
    PrintDefaults,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Config(ConfigCommand::PrintDefaults)) = arguments.command {
        print!("{}", Config::defaults_yaml());
        return ExitCode::SUCCESS;
    }
    let result = load(&arguments).and_then(|config| match arguments.command {
        Some(_) => {
            println!("The configuration is valid.");
            Ok(())
        }
        None => serve(config),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("miroir-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(arguments: &Arguments) -> anyhow::Result<Config> {
    let Some(path) = &arguments.config else { anyhow::bail!("--config FILE is missing") };
    let yaml = std::fs::read_to_string(path)
        .map_err(|error| anyhow::anyhow!("cannot read the configuration {}: {error}", path.display()))?;
    Ok(Config::load(&yaml, environment(), &arguments.overrides)?)
}

/// Variables that are not UTF-8 cannot be ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn serve(config: Config) -> anyhow::Result<()> {
    telemetry::init_logs(&config.log);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(app::run(config))
}
