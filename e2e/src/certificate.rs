//! Certificates for stories, each its own root.

use std::{fs, path::Path};

use rcgen::{CertifiedKey, generate_simple_self_signed};

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Certificate {
    /// A new one for a host.
    pub fn of(host: &str) -> Self {
        let made = generate_simple_self_signed([host.to_owned()]);
        let CertifiedKey { cert, signing_key } =
            made.unwrap_or_else(|error| panic!("no certificate for {host}: {error}"));
        Self {
            certificate: cert.pem(),
            key: signing_key.serialize_pem(),
        }
    }

    /// Writes it as a mounted Secret has it. Somebody may read one file of the new pair and one of the old, as with any two files.
    pub fn write(&self, folder: &Path) {
        for (name, text) in [("tls.crt", &self.certificate), ("tls.key", &self.key)] {
            fs::write(folder.join(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
