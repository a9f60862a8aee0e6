//! `netloom tools cert`.

use crate::standin::info;
use anyhow::{Context, Result, bail};
use netloom_pki::{Pair, Subject, Terms, YEAR, authority, check_authority, issue};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is done.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Certificate authorities.
    #[command(subcommand)]
    Ca(CaVerb),
    /// Make a certificate and sign it.
    Sign(Sign),
}

/// What is done about an authority.
#[derive(clap::Subcommand, Debug)]
pub enum CaVerb {
    /// Make one.
    Create(Create),
}

/// Whose certificate.
#[derive(clap::Args, Debug)]
pub struct Who {
    /// Common name.
    #[arg(long, default_value = "containerlab.dev")]
    cn: String,
    /// Country.
    #[arg(short, long, default_value = "Internet")]
    country: String,
    /// Locality.
    #[arg(short, long, default_value = "Server")]
    locality: String,
    /// Organisation.
    #[arg(short, long, default_value = "Containerlab")]
    organization: String,
    /// Organisational unit.
    #[arg(long, default_value = "Containerlab Tools")]
    ou: String,
    /// Folder the files are written to.
    #[arg(short, long, default_value = ".")]
    path: PathBuf,
}

/// Flags of `ca create`.
#[derive(clap::Args, Debug)]
pub struct Create {
    #[command(flatten)]
    who: Who,
    /// How long it is valid.
    #[arg(short, long, default_value = "87600h")]
    expiry: String,
    /// Name of the files without ending.
    // The flag of this name that all commands have is another here.
    #[arg(id = "name", short = 'n', long = "name", default_value = "ca")]
    prefix: String,
}

/// Flags of `sign`.
#[derive(clap::Args, Debug)]
pub struct Sign {
    #[command(flatten)]
    who: Who,
    /// Names and addresses it is good for.
    #[arg(long, value_delimiter = ',')]
    hosts: Vec<String>,
    /// The authority's certificate.
    #[arg(long, required = true)]
    ca_cert: PathBuf,
    /// The authority's key.
    #[arg(long, required = true)]
    ca_key: PathBuf,
    /// Bits of the key.
    #[arg(long, default_value_t = 2048)]
    key_size: usize,
    /// Name of the files without ending.
    #[arg(id = "name", short = 'n', long = "name", default_value = "cert")]
    prefix: String,
}

impl Who {
    fn subject(&self) -> Subject {
        Subject {
            place: [&self.country, &self.locality, &self.organization, &self.ou].map(Clone::clone),
            ..Subject::of_lab(&self.cn)
        }
    }
}

/// Makes certificates.
pub fn run(verb: Verb) -> Result<u8> {
    match verb {
        Verb::Ca(CaVerb::Create(a)) => create(&a),
        Verb::Sign(a) => sign(&a),
    }
}

fn create(a: &Create) -> Result<u8> {
    let who = &a.who;
    let valid = crate::context::duration(&a.expiry).map_err(anyhow::Error::msg)?;
    let text = format!(
        "Certificate attributes: CN={}, C={}, L={}, O={}, OU={}, Validity period={}",
        who.cn, who.country, who.locality, who.organization, who.ou, a.expiry
    );
    info(&text, &[]);
    let pair = authority(&who.subject(), terms(2048, valid))?;
    write(&who.path, &a.prefix, &pair)
}

fn sign(a: &Sign) -> Result<u8> {
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    let above = Pair { certificate: read(&a.ca_cert)?, key: read(&a.ca_key)? };
    check_authority(&above)?;
    let who = &a.who;
    let hosts: Vec<&str> = a.hosts.iter().map(String::as_str).filter(|h| !h.is_empty()).collect();
    if hosts.is_empty() {
        bail!(
            "for whom is the certificate? name hosts and addresses with --hosts a.example,10.0.0.1"
        );
    }
    let shown = format!("[{}]", hosts.join(" "));
    let fields = [
        ("Hosts", shown.as_str()),
        ("CN", &who.cn),
        ("C", &who.country),
        ("L", &who.locality),
        ("O", &who.organization),
        ("OU", &who.ou),
    ];
    info("Creating and signing certificate", &fields);
    let mut subject = who.subject();
    for host in hosts {
        match host.parse() {
            Ok(address) => subject.addresses.push(address),
            Err(_) => subject.names.push(host.to_owned()),
        }
    }
    let pair = issue(&above, &subject, terms(a.key_size, YEAR * 10))?;
    write(&who.path, &a.prefix, &pair)
}

fn terms(key_size: usize, valid: Duration) -> Terms {
    Terms { key_size, valid, now: crate::verb::inspect::now() }
}

/// The key is for its owner alone, and comes first.
fn write(folder: &Path, prefix: &str, pair: &Pair) -> Result<u8> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for (ending, text, mode) in [("key", &pair.key, 0o600), ("pem", &pair.certificate, 0o644)] {
        let path = folder.join(format!("{prefix}.{ending}"));
        let mut new = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))
            .tempfile_in(folder)
            .with_context(|| format!("write into {}", folder.display()))?;
        new.write_all(text.as_bytes())?;
        new.persist(&path).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(0)
}
