//! `stepup keys`: makes, rotates and lists keys, and registers an app.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use serde_json::json;
use sha2::{Digest, Sha256};
use stepup::domain::id::AppName;
use stepup::domain::keys::{KeyFile, KeyFileSet, KeyId, Keyring};
use zeroize::Zeroizing;

/// Only the owner may read a key file.
const KEY_FILE_MODE: u32 = 0o600;

/// What becomes of a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A set is added and made active. The older sets stay, to open what they made.
    Rotate,
    /// A set is added that only opens, until it is activated.
    Add,
    /// The set with this id makes new digests and seals from now on.
    Activate(&'a str),
}

/// Writes a new key file with one set. Returns what to tell the operator.
///
/// # Errors
/// The file is there already, or cannot be written.
pub fn create(path: &Path) -> Result<String, String> {
    let kid = KeyId::parse("k1").ok_or("k1 is no key id")?;
    let file = KeyFile::draw(&kid, &mut UnwrapErr(SysRng));
    let (text, keys) = render(&file)?;
    write_new(path, &text, None).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => format!(
            "{} is there already and is not overwritten: add a set to it with --add",
            path.display()
        ),
        _ => format!("{} cannot be written: {error}", path.display()),
    })?;
    Ok(format!(
        "{}: written with key set {kid}. Keep a copy in a safe place: without it nothing that is \
         stored can be opened.\nThe public key is {}",
        path.display(),
        public(&keys)
    ))
}

/// Changes an existing key file. Returns what to tell the operator.
///
/// # Errors
/// There is no such file or set, or the file cannot be read or written. It is whole either way.
pub fn change(path: &Path, change: Change<'_>) -> Result<String, String> {
    let failed =
        |what: &str, error: std::io::Error| format!("{} cannot be {what}: {error}", path.display());
    // A link is followed, so that the file it leads to is replaced and not the link.
    let path = fs::canonicalize(path).map_err(|error| failed("found", error))?;
    let text = fs::read_to_string(&path).map(Zeroizing::new);
    let text = text.map_err(|error| failed("read", error))?;
    Keyring::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
    let mut file: KeyFile =
        serde_json::from_str(&text).map_err(|_| format!("{} is no key file", path.display()))?;
    let kid = match change {
        Change::Activate(kid) if !file.sets.contains_key(kid) => {
            return Err(format!("{} has no key set {kid}: see `stepup keys list`", path.display()));
        }
        Change::Activate(kid) => kid.to_owned(),
        Change::Rotate | Change::Add => {
            let kid = next_id(&file);
            file.sets.insert(kid.clone(), KeyFileSet::draw(&mut UnwrapErr(SysRng)));
            kid
        }
    };
    if change != Change::Add {
        file.active = kid.clone();
    }
    let (text, keys) = render(&file)?;
    replace(&path, &text)?;
    let (path, sets) = (path.display(), file.sets.len());
    let next = match change {
        Change::Add => format!(
            "key set {kid} added, {sets} in all; it opens and does not make yet. Give this file to \
             every process and restart it, then make {kid} active with `stepup keys activate`"
        ),
        Change::Rotate | Change::Activate(_) => format!(
            "key set {kid} is active, of {sets} in all. Restart every process, then give apps the \
             new public key"
        ),
    };
    Ok(format!("{path}: {next}.\nThe public key is {}", public(&keys)))
}

/// `k` and the number after the highest.
fn next_id(file: &KeyFile) -> String {
    let numbers = file.sets.keys().filter_map(|kid| kid.strip_prefix('k')?.parse::<u32>().ok());
    format!("k{}", numbers.max().unwrap_or(1).saturating_add(1))
}

/// The text of a key file, without a newline at its end, and the proof that it can be read.
fn render(file: &KeyFile) -> Result<(Zeroizing<String>, Keyring), String> {
    let text = serde_json::to_string_pretty(file).map(Zeroizing::new);
    let text = text.map_err(|_| "the keys cannot be written as JSON".to_owned())?;
    let keys = Keyring::parse(&text)?;
    Ok((text, keys))
}

/// Writes a file that must not be there yet, down to the disk; with the owner and mode of `like`.
fn write_new(path: &Path, text: &str, like: Option<&fs::Metadata>) -> std::io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(KEY_FILE_MODE).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| {
        if let Some(like) = like {
            let new = file.metadata()?;
            if (new.uid(), new.gid()) != (like.uid(), like.gid()) {
                fchown(&file, Some(like.uid()), Some(like.gid()))?;
            }
            file.set_permissions(like.permissions())?;
        }
        file.sync_all()?;
        File::open(folder(path))?.sync_all()
    });
    if written.is_err() {
        // Half a key file is of no use, and would be in the way of the next attempt.
        let _ = fs::remove_file(path);
    }
    written
}

/// Puts `text` in place of a file at once: whoever reads sees the old one or the new one.
fn replace(path: &Path, text: &str) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = folder(path).join(format!(".{name}.new"));
    let like = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    write_new(&fresh, text, Some(&like)).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => format!(
            "{} is there: another rotation is under way, or one was cut off. Remove it if none is",
            fresh.display()
        ),
        _ => format!("{} cannot be written: {error}", fresh.display()),
    })?;
    let renamed = fs::rename(&fresh, path);
    renamed.and_then(|()| File::open(folder(path))?.sync_all()).map_err(|error| {
        let _ = fs::remove_file(&fresh);
        format!("{} cannot be replaced: {error}", path.display())
    })
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The public half of the active set, as `STEPUP_PUBLIC_KEY` and apps take it.
pub fn public(keys: &Keyring) -> String {
    keys.public().to_string()
}

/// The public keys that approvals are verified with, as a JWK set.
pub fn approval(keys: &Keyring) -> String {
    format!("{:#}", keys.approval_keys())
}

/// The ids of all sets, a line each, the active one marked. Never key material.
pub fn list(keys: &Keyring) -> String {
    keys.ids()
        .map(|(kid, active)| format!("{kid}{}\n", if active { " active" } else { "" }))
        .collect()
}

/// Draws an API key for an app. The text shows the key, once, and the entry for `STEPUP_APPS`,
/// which has its SHA-256 only.
///
/// # Errors
/// The name is none, `broker_user` is empty, or the operating system gives no random bytes.
pub fn app(name: &str, broker_user: Option<&str>) -> Result<String, String> {
    let name = AppName::parse(name).map_err(|why| format!("the app's name: {why}"))?;
    let broker_user = broker_user.unwrap_or(name.as_str());
    if broker_user.is_empty() {
        return Err("the broker user must not be empty".into());
    }
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SysRng
        .try_fill_bytes(bytes.as_mut())
        .map_err(|why| format!("the operating system gives no random bytes: {why}"))?;
    let key = Zeroizing::new(hex(bytes.as_ref()));
    let entry = json!({
        "app": name,
        "broker_user": broker_user,
        "api_key_sha256": hex(&Sha256::digest(key.as_bytes())),
    });
    Ok(format!(
        "The API key of {name}, shown this once:\n{}\nAdd to the list in STEPUP_APPS:\n{entry}\nIf \
         {name} is there already, put this digest beside the old one (\"api_key_sha256\":[old,new]), \
         and take the old one out when {name} has changed its key.",
        *key
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder of its own, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("stepup-keys-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn keys(&self) -> PathBuf {
            self.0.join("keys")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_key_file_is_for_its_owner_alone_and_never_overwritten() {
        let folder = Folder::new("new");
        let path = folder.keys();
        let told = create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(!text.ends_with('\n'));
        let keys = Keyring::parse(&text).unwrap();
        assert!(told.ends_with(&public(&keys)));
        assert_eq!(list(&keys), "k1 active\n");
        assert!(create(&path).unwrap_err().contains("--add"));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_rotation_adds_an_active_set_and_keeps_the_others() {
        let folder = Folder::new("rotate");
        let path = folder.keys();
        assert!(change(&path, Change::Rotate).is_err(), "nothing to rotate");
        create(&path).unwrap();
        let before = Keyring::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        change(&path, Change::Rotate).unwrap();
        change(&path, Change::Add).unwrap();
        let added = Keyring::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(list(&added), "k1\nk2 active\nk3\n");
        assert!(change(&path, Change::Activate("k4")).unwrap_err().contains("no key set k4"));
        change(&path, Change::Activate("k3")).unwrap();
        let after = Keyring::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(list(&after), "k1\nk2\nk3 active\n");
        assert_eq!(mode(&path), 0o640, "as the operator set it");
        assert_eq!(after.open_request(&before.public().seal(b"1")).unwrap().as_slice(), b"1");
        assert_eq!(before.blind("phone", "x"), after.blind("phone", "x"));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_rotation_leaves_alone_what_it_cannot_read_and_what_another_has_begun() {
        let folder = Folder::new("refuse");
        let path = folder.keys();
        fs::write(&path, "{}").unwrap();
        assert!(change(&path, Change::Rotate).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        fs::remove_file(&path).unwrap();
        create(&path).unwrap();
        let other = folder.0.join(".keys.new");
        fs::write(&other, "").unwrap();
        assert!(change(&path, Change::Rotate).unwrap_err().contains("another rotation"));
        assert!(other.exists());
    }

    #[test]
    fn an_app_gets_a_fresh_key_and_an_entry_that_the_settings_take() {
        let told = app("crm", Some("crm-user")).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        let (key, entry) = (lines[1], lines[3]);
        assert_eq!(key.len(), 64);
        assert!(!entry.contains(key));
        let vars = [("STEPUP_APPS".to_owned(), format!("[{entry}]"))].into();
        let no_files = |_: &Path| Err(String::new());
        let config = stepup::config::Config::read(&vars, &no_files, &[], false).ok().unwrap();
        assert_eq!(config.apps[0].broker_user, "crm-user");
        assert_eq!(config.apps[0].api_keys_sha256[0][..], Sha256::digest(key.as_bytes())[..]);
        assert_ne!(told, app("crm", Some("crm-user")).unwrap());
        assert!(app("not.a.name", None).is_err());
        assert!(app("crm", Some("")).is_err());
    }
}
