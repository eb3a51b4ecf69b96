//! How much is measured.

use std::path::PathBuf;

/// The command line, read.
#[derive(Debug)]
pub struct Options {
    /// Documents that are searched.
    pub documents: usize,
    /// Searches per series when latency is measured.
    pub searches: usize,
    /// Searches per series when CPU time is measured.
    pub cpu_searches: usize,
    /// Size of what is ingested, in units of 1,000,000 bytes.
    pub ingest_mb: usize,
    /// Documents of a replica that is filled.
    pub healing_documents: usize,
    /// Documents of replicas that are compared.
    pub comparing_documents: usize,
    /// Writes of one document per series.
    pub writes: usize,
    /// Which measurements run; empty: all.
    only: Vec<String>,
    /// The file that the result is written into.
    pub out: PathBuf,
}

impl Options {
    /// Reads `key=value` arguments.
    ///
    /// # Errors
    /// When one is unknown or has no number.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let out = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md"));
        let mut options = Self {
            documents: 20_000,
            searches: 3000,
            cpu_searches: 20_000,
            ingest_mb: 200,
            healing_documents: 160_000,
            comparing_documents: 1_000_000,
            writes: 5000,
            only: Vec::new(),
            out,
        };
        for argument in arguments {
            let (key, value) = argument.split_once('=').ok_or(format!("{argument}: expected key=value"))?;
            let number = || {
                value.parse::<usize>().ok().filter(|n| *n > 0).ok_or(format!("{argument}: expected a number above 0"))
            };
            match key {
                "documents" => options.documents = number()?,
                "searches" => options.searches = number()?,
                "cpu_searches" => options.cpu_searches = number()?,
                "ingest_mb" => options.ingest_mb = number()?,
                "healing_documents" => options.healing_documents = number()?,
                "comparing_documents" => options.comparing_documents = number()?,
                "writes" => options.writes = number()?,
                "only" => options.only = value.split(',').map(str::to_owned).collect(),
                "out" => options.out = PathBuf::from(value),
                _ => {
                    let known =
                        "documents, searches, cpu_searches, ingest_mb, healing_documents, comparing_documents, writes";
                    return Err(format!("{key}: expected {known}, only or out"));
                }
            }
        }
        Ok(options)
    }

    /// Whether this measurement runs.
    pub fn runs(&self, what: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == what)
    }
}
