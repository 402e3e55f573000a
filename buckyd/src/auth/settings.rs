//! The flags of tokens and peers, read and checked once at start.

use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bucky_api::DaemonAddr;
use bucky_api::token::Secret;

use super::Keys;

/// The longest secret file that is read.
const SECRET_LIMIT_BYTES: u64 = 64 * 1024;
/// The permission bits of users who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct AuthArgs {
    /// File with the secret that all daemons of the cluster share. If given, every request needs a token
    /// signed with it.
    #[arg(long, value_name = "FILE")]
    auth_jwt_secret_file: Option<PathBuf>,
    /// File with another secret whose tokens are accepted as well, while you change secrets. Repeatable.
    #[arg(long, value_name = "FILE")]
    auth_jwt_accept_secret_file: Vec<PathBuf>,
    /// Daemon outside of the ring that this one may fetch from, such as one that is drained. With --peer or
    /// with tokens, it talks only to members of the ring and to peers. Repeatable.
    #[arg(long, value_name = "HOST[:PORT]")]
    peer: Vec<String>,
}

/// The checked settings.
#[derive(Debug)]
pub(crate) struct AuthSettings {
    /// The secrets. `None` if there are no tokens.
    pub(crate) keys: Option<Keys>,
    /// Daemons that are not in the ring.
    pub(crate) peers: Vec<DaemonAddr>,
    /// Messages for the operator.
    pub(crate) warnings: Vec<String>,
}

impl AuthArgs {
    /// Reads the files. A peer without a port gets `port`, which this daemon listens on.
    ///
    /// # Errors
    /// A message that names the flag. A daemon that was given a secret must not run without protection.
    pub(crate) fn check(&self, port: u16) -> Result<AuthSettings, String> {
        let mut warnings = Vec::new();
        let mut secret = |flag: &str, path: &Path| -> Result<Secret, String> {
            read(path, &mut warnings)
                .map_err(|reason| format!("{flag}: {}: {reason}", path.display()))
        };
        let own = self
            .auth_jwt_secret_file
            .as_deref()
            .map(|path| secret("-auth-jwt-secret-file", path))
            .transpose()?;
        let further = self
            .auth_jwt_accept_secret_file
            .iter()
            .map(|path| secret("--auth-jwt-accept-secret-file", path))
            .collect::<Result<Vec<_>, _>>()?;
        let keys = match own {
            Some(own) => Some(Keys::new(own, further)),
            None if further.is_empty() => None,
            None => {
                return Err(
                    "--auth-jwt-accept-secret-file needs -auth-jwt-secret-file as well: without it this daemon cannot \
                     sign the tokens that it shows to other daemons"
                        .into(),
                );
            }
        };
        let peers = self.peer.iter().map(|text| peer(text, port)).collect::<Result<_, _>>()?;
        Ok(AuthSettings { keys, peers, warnings })
    }
}

fn read(path: &Path, warnings: &mut Vec<String>) -> Result<Secret, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let permissions = file.metadata().map_err(|error| error.to_string())?.permissions();
    let mut content = Vec::new();
    file.take(SECRET_LIMIT_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(|error| error.to_string())?;
    if content.len() as u64 > SECRET_LIMIT_BYTES {
        return Err(format!(
            "it has more than {SECRET_LIMIT_BYTES} bytes, which is too long for a secret"
        ));
    }
    let secret = Secret::new(&content).map_err(|error| error.to_string())?;
    let path = path.display();
    if secret.is_short() {
        warnings.push(format!(
            "the secret in {path} has fewer than 32 bytes: anyone who has a token can find it by trying short ones; \
             make a new one with: openssl rand -base64 32"
        ));
    }
    if permissions.mode() & OTHERS != 0 {
        warnings.push(format!(
            "every user of this host can read the secret in {path}, or write to it; run: chmod o= {path}"
        ));
    }
    Ok(secret)
}

fn peer(text: &str, port: u16) -> Result<DaemonAddr, String> {
    DaemonAddr::parse_with_port(text, port).map_err(|error| format!("--peer: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    fn check(content: &str, mode: u32) -> Result<AuthSettings, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        let path = Some(file.path().to_owned());
        let peer = vec!["old".to_owned(), "older:1".to_owned(), "[::1]".to_owned()];
        AuthArgs { auth_jwt_secret_file: path, auth_jwt_accept_secret_file: Vec::new(), peer }
            .check(4343)
    }

    const LONG: &str = "0123456789abcdef0123456789abcdef\n";

    #[test]
    fn peers_have_this_daemons_port_unless_they_name_another() {
        let settings = check(LONG, 0o600).unwrap();
        let peers: Vec<String> = settings.peers.iter().map(ToString::to_string).collect();
        assert_eq!(peers, ["old:4343", "older:1", "[::1]:4343"]);
        assert_eq!(settings.warnings, [] as [String; 0]);
    }

    /// D10: an empty or blank file turns the Go daemon's tokens off without a message.
    #[test]
    fn d10_a_blank_secret_file_keeps_the_daemon_from_starting() {
        for content in ["", "\n", " \t\n"] {
            let error = check(content, 0o600).unwrap_err();
            assert!(error.starts_with("-auth-jwt-secret-file: /"), "{error}");
            assert!(error.contains("only white space"), "{error}");
        }
    }

    #[test]
    fn a_short_secret_and_one_that_all_can_read_are_reported_and_not_shown() {
        let settings = check("swordfish", 0o644).unwrap();
        assert!(settings.warnings[0].contains("fewer than 32 bytes"), "{:?}", settings.warnings);
        assert!(settings.warnings[1].contains("chmod o="), "{:?}", settings.warnings);
        assert!(!format!("{settings:?}").contains("swordfish"));
        assert!(check(LONG, 0o640).unwrap().warnings.is_empty());
    }

    #[test]
    fn a_further_secret_alone_is_refused() {
        let args = AuthArgs {
            auth_jwt_secret_file: None,
            auth_jwt_accept_secret_file: vec!["/proc/version".into()],
            peer: Vec::new(),
        };
        assert!(args.check(1).unwrap_err().contains("needs -auth-jwt-secret-file as well"));
    }
}
