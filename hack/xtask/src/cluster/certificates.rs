//! The cluster's own certificate authority, and a certificate for each who serves or calls.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use std::io::Write;

use anyhow::{Context, Result};
use fs_err as fs;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::cluster::files;

/// Makes a new authority and every key and certificate of the cluster in `folder`.
pub(crate) fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let authority = authority(folder).context("cannot make the cluster's certificate authority")?;

    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    issue(
        folder,
        &authority,
        "apiserver",
        "kube-apiserver",
        None,
        files::api_server_names(),
        server.clone(),
    )?;
    issue(folder, &authority, "kubelet-server", "kubelet", None, files::kubelet_names(), server)?;
    let masters = Some("system:masters");
    let name = "apiserver-kubelet-client";
    issue(folder, &authority, name, "kube-apiserver-kubelet-client", masters, Vec::new(), client.clone())?;
    for (file, name, organisation) in files::USERS {
        issue(folder, &authority, file, name, organisation, Vec::new(), client.clone())?;
    }

    // Signs the tokens of ServiceAccounts; it needs no certificate.
    let tokens = KeyPair::generate()?;
    write_secret(&folder.join("service-accounts.key"), &tokens.serialize_pem())?;
    fs::write(folder.join("service-accounts.pub"), tokens.public_key_pem())?;
    Ok(())
}

fn authority(folder: &Path) -> Result<Issuer<'static, KeyPair>> {
    let key = KeyPair::generate()?;
    let mut wanted = CertificateParams::default();
    wanted.distinguished_name.push(DnType::CommonName, "kubernetes-ca");
    wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wanted.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    fs::write(folder.join("ca.crt"), wanted.self_signed(&key)?.pem())?;
    write_secret(&folder.join("ca.key"), &key.serialize_pem())?;
    Ok(Issuer::new(wanted, key))
}

fn issue(
    folder: &Path,
    authority: &Issuer<'static, KeyPair>,
    file: &str,
    common_name: &str,
    organisation: Option<&str>,
    names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut wanted =
        CertificateParams::new(names).with_context(|| format!("cannot describe the certificate {file}"))?;
    wanted.distinguished_name = rcgen::DistinguishedName::new();
    wanted.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organisation) = organisation {
        wanted.distinguished_name.push(DnType::OrganizationName, organisation);
    }
    wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    wanted.extended_key_usages = vec![usage];
    let signed = wanted.signed_by(&key, authority);
    let certificate = signed.with_context(|| format!("cannot sign the certificate {file}"))?;
    fs::write(folder.join(format!("{file}.crt")), certificate.pem())?;
    write_secret(&folder.join(format!("{file}.key")), &key.serialize_pem())
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::command;

    fn openssl(arguments: &[&str], folder: &Path) -> String {
        command::output(Command::new("openssl").args(arguments).current_dir(folder)).unwrap()
    }

    #[test]
    fn openssl_accepts_every_certificate_for_its_purpose() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        create(folder).unwrap();
        for (file, purpose) in [
            ("apiserver", "sslserver"),
            ("kubelet-server", "sslserver"),
            ("apiserver-kubelet-client", "sslclient"),
            ("admin", "sslclient"),
            ("kubelet", "sslclient"),
            ("kube-scheduler", "sslclient"),
            ("kube-controller-manager", "sslclient"),
        ] {
            let certificate = format!("{file}.crt");
            let verified =
                openssl(&["verify", "-CAfile", "ca.crt", "-purpose", purpose, &certificate], folder);
            assert_eq!(verified.trim(), format!("{certificate}: OK"));
        }
        let subject = openssl(&["x509", "-in", "kubelet.crt", "-noout", "-subject"], folder);
        assert!(
            subject.contains("O = system:nodes") && subject.contains("CN = system:node:node1"),
            "{subject}"
        );
        let names = openssl(&["x509", "-in", "apiserver.crt", "-noout", "-ext", "subjectAltName"], folder);
        assert!(
            names.contains("IP Address:10.96.0.1") && names.contains("DNS:kubernetes.default.svc"),
            "{names}"
        );
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = tempfile::tempdir().unwrap();
        create(temporary.path()).unwrap();
        let mut keys = 0;
        for entry in fs::read_dir(temporary.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "key") {
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
                keys += 1;
            }
        }
        assert_eq!(keys, 9);
    }
}
