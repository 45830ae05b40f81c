//! Pure. Any number of certificates, each with its key.

use std::collections::HashMap;

use super::kinds::quoted;
use super::setting::{Allowed, Kind, Raw};
use crate::tls::CertificateFiles;

/// A table each, or text with commas in the environment.
pub(super) struct CertificatePairs;

impl Kind for CertificatePairs {
    type Value = Vec<CertificateFiles>;

    fn parse(&self, raw: &Raw) -> Allowed<Self::Value> {
        match raw {
            Raw::Tables(tables) => tables.iter().map(of_table).collect(),
            raw => raw.list()?.into_iter().map(of_text).collect(),
        }
    }

    fn show(&self, files: &Self::Value) -> Option<String> {
        let files = files.iter().map(|files| {
            let [cert, key] =
                [&files.cert, &files.key].map(|path| quoted(&path.display().to_string()));
            format!("{{ cert = {cert}, key = {key} }}")
        });
        Some(format!("[{}]", files.collect::<Vec<_>>().join(", ")))
    }

    fn allowed(&self) -> String {
        "tables such as { cert = \"chain.pem\", key = \"key.pem\" }; in the environment \
         chain.pem:key.pem, with commas between"
            .to_owned()
    }
}

fn of_table(table: &HashMap<String, String>) -> Allowed<CertificateFiles> {
    match (table.len(), table.get("cert"), table.get("key")) {
        (2, Some(cert), Some(key)) => files(cert, key),
        _ => Err(None),
    }
}

fn of_text(text: &str) -> Allowed<CertificateFiles> {
    let (cert, key) = text.split_once(':').ok_or(None)?;
    files(cert, key)
}

fn files(cert: &str, key: &str) -> Allowed<CertificateFiles> {
    match cert.is_empty() || key.is_empty() {
        true => Err(None),
        false => Ok(CertificateFiles {
            cert: cert.into(),
            key: key.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Faults, Source};

    fn load(text: &str, environment: Option<&str>) -> Result<String, Faults> {
        let environment = environment.map(|text| ("TLS_CERTIFICATES", text));
        let loaded = Config::load(&Source::of(text, environment.as_slice()))?;
        let files = loaded.config.tls.certificates.iter();
        let files = files.map(|files| format!("{} {}", files.cert.display(), files.key.display()));
        Ok(files.collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn tables_of_the_file_and_text_of_the_environment_name_the_same() {
        let tables = "[[tls.certificates]]\ncert = \"a.pem\"\nkey = \"a.key\"\n\
                      [[tls.certificates]]\ncert = \"b.pem\"\nkey = \"b.key\"\n";
        let inline = "[tls]\ncertificates = [{ cert = \"a.pem\", key = \"a.key\" }, \
                      { cert = \"b.pem\", key = \"b.key\" }]\n";
        let expected = "a.pem a.key, b.pem b.key";
        assert_eq!(load(tables, None).unwrap(), expected);
        assert_eq!(load(inline, None).unwrap(), expected);
        let text = "a.pem:a.key, b.pem:b.key";
        assert_eq!(load("", Some(text)).unwrap(), expected);
        assert_eq!(load(tables, Some("c.pem:c.key")).unwrap(), "c.pem c.key");
    }

    #[test]
    fn a_certificate_without_a_key_and_an_unknown_word_are_refused() {
        for text in [
            "[[tls.certificates]]\ncert = \"a.pem\"\n",
            "[[tls.certificates]]\ncert = \"a.pem\"\nkey = \"a.key\"\nca = \"b\"\n",
            "[tls]\ncertificates = [\"a.pem\"]\n",
            "[tls]\ncertificates = \"a.pem:a.key\"\n",
        ] {
            let said = load(text, None).unwrap_err().to_string();
            assert!(said.contains("tls.certificates: not allowed"), "{said}");
        }
        assert!(load("", Some("a.pem")).is_err());
    }
}
