//! Builds: the probe and its programs, for any target, by `ci/on`.

use anyhow::{Context, Result, bail, ensure};
use object::read::archive::ArchiveFile;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// The machine that the tests run on.
pub const NATIVE: &str = "x86_64-unknown-linux-gnu";

/// Targets whose objects are ELF.
pub const ELF: [&str; 3] = [
    "x86_64-unknown-linux-gnu",
    "i686-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
];

/// Targets whose objects are Mach-O.
pub const MACH_O: [&str; 3] = [
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
    "i686-apple-darwin",
];

/// All targets.
pub fn targets() -> impl Iterator<Item = &'static str> {
    ELF.into_iter().chain(MACH_O)
}

/// One object file out of a library.
pub struct Object {
    /// The name of the library and the object's own.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
}

/// The objects of one build.
pub struct Objects {
    /// Those of nosplit.
    pub nosplit: Vec<Object>,
    /// Those of the probe, which holds the wrappers.
    pub probe: Vec<Object>,
}

/// Builds nosplit and the probe, in release, and takes their libraries apart.
pub fn objects(target: &str) -> Result<Objects> {
    let artifacts = artifacts(target, &["--lib"], &[], "objects")?;
    Ok(Objects {
        nosplit: members(&artifacts, "nosplit")?,
        probe: members(&artifacts, "nosplit_probe")?,
    })
}

/// A program (an example of the probe) on a target.
pub struct Program {
    /// The target.
    pub target: &'static str,
    /// The example.
    pub name: &'static str,
    /// Where it is built. Variables that make a difference need a folder of their own.
    pub folder: String,
    /// Variables for cargo.
    pub variables: Vec<(&'static str, &'static str)>,
}

impl Program {
    /// A program as it is in release.
    pub fn new(target: &'static str, name: &'static str) -> Program {
        Program {
            target,
            name,
            folder: "programs".to_owned(),
            variables: Vec::new(),
        }
    }

    /// Builds it; returns the executable or the shared library.
    pub fn build(&self) -> Result<PathBuf> {
        let what = ["--example", self.name];
        let artifacts = artifacts(self.target, &what, &self.variables, &self.folder)?;
        let file = files(&artifacts, self.name).into_iter().next();
        file.with_context(|| format!("cargo does not say where it put {}", self.name))
    }

    /// Builds and runs it, and returns what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let what = ["--quiet", "--example", self.name, "--"];
        let mut cargo = on(self.target, "run", &self.variables, &self.folder)?;
        let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        output(cargo.args(what).args(arguments))
    }
}

/// One build at a time: cargo uses every processor anyway, and `ci/on` empties a folder whose SDK is
/// another.
static BUILDING: Mutex<()> = Mutex::new(());

/// Runs a command and returns what it printed; fails, with its errors, if it does.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} cannot be run"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where these tests keep what they build: beside the test itself, since clones must not share it.
pub fn folder(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let target = test
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists())
        .with_context(|| format!("{} is not in a target folder", test.display()))?;
    Ok(target.join("inspect").join(name))
}

/// `ci/on` for the probe, in release.
fn on(target: &str, command: &str, variables: &[(&str, &str)], folder: &str) -> Result<Command> {
    let mut on = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../on"));
    on.args([target, command, "--release", "--package", "nosplit-probe"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null());
    // The same code on every machine: nobody's own flags and profiles.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let own = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_ENCODED_"];
        if own.iter().any(|own| text.starts_with(own)) || text.ends_with("RUSTFLAGS") {
            on.env_remove(&name);
        }
    }
    on.env("CARGO_TARGET_DIR", self::folder(folder)?);
    on.envs(variables.iter().copied());
    Ok(on)
}

/// Builds something of the probe; returns cargo's messages about artifacts.
fn artifacts(
    target: &str,
    what: &[&str],
    variables: &[(&str, &str)],
    folder: &str,
) -> Result<Vec<Value>> {
    let mut cargo = on(target, "build", variables, folder)?;
    let format = ["--message-format", "json-render-diagnostics"];
    let one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let messages = output(cargo.args(what).args(format))?;
    drop(one);
    let mut artifacts = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if message["reason"] == "compiler-artifact" {
            artifacts.push(message);
        }
    }
    Ok(artifacts)
}

/// The files of the artifact of that name.
fn files(artifacts: &[Value], name: &str) -> Vec<PathBuf> {
    artifacts
        .iter()
        .filter(|artifact| artifact["target"]["name"] == name)
        .flat_map(|artifact| artifact["filenames"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .map(PathBuf::from)
        .collect()
}

/// The objects in the library of that name.
fn members(artifacts: &[Value], name: &str) -> Result<Vec<Object>> {
    let libraries = files(artifacts, name);
    let Some(library) = libraries
        .iter()
        .find(|file| file.extension().is_some_and(|e| e == "rlib"))
    else {
        bail!("cargo does not say where it put the library {name}: {libraries:?}");
    };
    let bytes = std::fs::read(library).with_context(|| library.display().to_string())?;
    let mut objects = Vec::new();
    for member in ArchiveFile::parse(&*bytes)?.members() {
        let member = member?;
        let file = String::from_utf8_lossy(member.name()).into_owned();
        // The other member is rustc's metadata.
        if file.ends_with(".o") {
            objects.push(Object {
                name: format!("{name}({file})"),
                bytes: member.data(&*bytes)?.to_owned(),
            });
        }
    }
    ensure!(!objects.is_empty(), "{} is empty", library.display());
    Ok(objects)
}
