//! What the counts depend on besides the code: the compiler and how it was told to
//! optimise.

use std::process::Command;

/// The compiler's version, the processor's family, and the profile of benches.
pub(crate) fn describe() -> String {
    let version = Command::new("rustc").arg("--version").output().unwrap();
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
        let from_environment = std::env::var_os(variable.to_uppercase());
        from_environment
            .map(|value| value.to_string_lossy().into_owned())
            .or_else(from_file)
    };
    let set = of("bench").or_else(|| of("release"));
    set.unwrap_or_default().trim_matches('"').to_owned()
}
