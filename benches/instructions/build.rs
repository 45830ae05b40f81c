//! What the counts depend on besides the code: the compiler and how it was told to
//! optimise.

use std::process::Command;

/// The compiler's version, the processor's family, and the profile of benches.
pub(crate) fn describe() -> String {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    format!(
        "{}, {}, lto {}, codegen-units {}",
        version.trim(),
        std::env::consts::ARCH,
        setting("lto"),
        setting("codegen-units"),
    )
}

/// A setting of the profile that benches are built with: the environment's, or that of
/// Cargo.toml, where `bench` goes by `release`.
fn setting(name: &str) -> String {
    let profiles: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let of = |profile: &str| {
        let variable = format!("CARGO_PROFILE_{profile}_{name}").replace('-', "_");
        let from_file = || Some(profiles["profile"].get(profile)?.get(name)?.to_string());
        std::env::var(variable.to_uppercase())
            .ok()
            .or_else(from_file)
    };
    let set = of("bench").or_else(|| of("release"));
    set.unwrap_or_default().trim_matches('"').to_owned()
}
