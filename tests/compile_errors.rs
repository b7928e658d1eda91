//! What a row cannot express does not compile, and the error says why.
//!
//! Each program in `compile_errors/` makes one mistake, and names in its first lines what the error must
//! say: the layer's own words, or rustc's number where the check is rustc's. Compilers differ in the
//! rest.
//!
//! One target is enough, since the mistakes are found before an architecture is chosen; and it is the
//! one on which tests run beside the compiler that made them.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn what_a_row_cannot_express_is_a_compile_error_that_says_why() {
    let programs = programs();
    let (errors, said) = check(&programs);
    let mut wrong = String::new();
    for (name, path) in &programs {
        let text = std::fs::read_to_string(path).expect("a program");
        let expected: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("// error: "))
            .collect();
        let found = errors.get(name).map_or("", String::as_str);
        let right = match &expected[..] {
            [] => found.is_empty(),
            phrases => phrases.iter().all(|phrase| found.contains(phrase)),
        };
        if !right {
            wrong += &format!("{name}: expected {expected:?}, and found:\n{found}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}{said}");
    let mistakes = programs.len() - 1;
    assert_eq!(
        errors.len(),
        mistakes,
        "all but the control, `accepted`, are wrong"
    );
}

/// The programs, by name.
fn programs() -> BTreeMap<String, PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_errors");
    std::fs::read_dir(folder)
        .expect("the programs")
        .map(|entry| {
            let path = entry.expect("a program").path();
            let name = path.file_stem().expect("a name").to_string_lossy();
            (name.into_owned(), path)
        })
        .collect()
}

/// Has cargo check all programs at once, as a package that depends on this one; returns the errors
/// of each, as rustc prints them, and what cargo had to say.
fn check(programs: &BTreeMap<String, PathBuf>) -> (BTreeMap<String, String>, String) {
    let root = env!("CARGO_MANIFEST_DIR");
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_errors");
    let mut manifest = format!(
        "[package]\nname = \"compile-errors\"\nedition = \"2024\"\n\
         [workspace]\n\
         [dependencies]\nnosplit.path = {root:?}\nlibc = \"0.2\"\n"
    );
    for (name, path) in programs {
        manifest += &format!("[[bin]]\nname = {name:?}\npath = {path:?}\n");
    }
    std::fs::create_dir_all(&package).expect("a folder");
    std::fs::write(package.join("Cargo.toml"), manifest).expect("a manifest");
    // The same versions as ours: they are here already, and nothing is fetched.
    std::fs::copy(
        Path::new(root).join("Cargo.lock"),
        package.join("Cargo.lock"),
    )
    .expect("a lock file");

    let output = Command::new(env!("CARGO"))
        .args([
            "check",
            "--bins",
            "--keep-going",
            "--offline",
            "--message-format=json",
        ])
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", package.join("target"))
        .output()
        .expect("cargo");
    let mut errors = BTreeMap::<String, String>::new();
    for line in output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let message: serde_json::Value = serde_json::from_slice(line).expect("JSON");
        let (target, message) = (&message["target"]["name"], &message["message"]);
        if let (Some(target), Some("error")) = (target.as_str(), message["level"].as_str()) {
            *errors.entry(target.into()).or_default() += message["rendered"].as_str().unwrap_or("");
        }
    }
    (errors, String::from_utf8_lossy(&output.stderr).into_owned())
}
