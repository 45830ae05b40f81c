//! The Dockerfile, the script that does without Docker, and the compose file.

use std::process::Command;

use serde_json::Value;

use crate::{content, is_ours, list, load, read, root, text, yaml_one};

#[test]
fn every_path_of_the_dockerfile_exists_and_its_stages_agree() {
    content("deploy/build.sh", &["--check"]);
}

#[test]
fn the_check_notices_what_the_build_would_lack() {
    let dockerfile = read("deploy/Dockerfile");
    for (from, to, fault) in [
        ("COPY sql ./sql\n", "", "the build needs sql"),
        (
            "COPY .cargo/config.toml ./.cargo/config.toml\n",
            "",
            "the build needs .cargo/config.toml",
        ),
        (
            "COPY src ./src",
            "COPY source ./source",
            "there is no such file",
        ),
        ("USER 65532:65532", "USER root", "USER must be a number"),
        (
            "ENTRYPOINT [\"/usr/local",
            "ENTRYPOINT [\"/usr",
            "is not what the build makes",
        ),
        (
            "CMD [\"/usr/local/bin/mls-relay\"",
            "CMD [\"/bin/curl\"",
            "HEALTHCHECK runs",
        ),
    ] {
        assert!(dockerfile.contains(from), "{from}");
        // The project as links, but for its deploy folder.
        let project = tempfile::tempdir().unwrap();
        let deploy = project.path().join("deploy");
        std::fs::create_dir(&deploy).unwrap();
        for entry in std::fs::read_dir(root()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "deploy" {
                let link = project.path().join(entry.file_name());
                std::os::unix::fs::symlink(entry.path(), link).unwrap();
            }
        }
        for name in ["build.sh", "Dockerfile.dockerignore", "container.toml"] {
            std::fs::copy(root().join("deploy").join(name), deploy.join(name)).unwrap();
        }
        std::fs::write(deploy.join("Dockerfile"), dockerfile.replace(from, to)).unwrap();

        let output = Command::new(deploy.join("build.sh"))
            .arg("--check")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{to:?} went unnoticed");
        assert!(said.contains(fault), "{fault:?} is missing in:\n{said}");
    }
}

#[test]
fn the_image_is_told_to_listen_where_the_manifests_look() {
    let config = load(&read("deploy/container.toml")).config;
    assert_eq!(config.edge.listen.port(), 8443);
    assert_eq!(config.edge.admin_listen.port(), 9090);
    assert!(
        config.edge.admin_listen.ip().is_unspecified(),
        "probes come from outside the container"
    );
    assert!(read("deploy/Dockerfile").contains("\nEXPOSE 8443\n"));
}

/// The compose file's services.
fn services() -> Value {
    yaml_one("deploy/docker-compose.yml")["services"].clone()
}

#[test]
fn compose_runs_the_relay_beside_postgres_16_prometheus_and_grafana_and_watches_each() {
    let services = services();
    assert_eq!(text(&services, "/postgres/image"), "postgres:16");
    for name in ["relay", "postgres", "prometheus", "grafana"] {
        let service = &services[name];
        assert!(!list(service, "/healthcheck/test").is_empty(), "{name}");
        assert_eq!(text(service, "/restart"), "unless-stopped", "{name}");
        assert!(
            !text(service, "/image").ends_with(":latest") || name == "relay",
            "{name}"
        );
    }
    assert_eq!(
        text(&services, "/relay/depends_on/postgres/condition"),
        "service_healthy"
    );
}

#[test]
fn compose_tells_the_relay_only_what_it_reads() {
    let services = services();
    let environment = services["relay"]["environment"].as_object().unwrap();
    for variable in environment.keys() {
        assert!(is_ours(variable), "{variable}");
    }
    // It needs the address inside the network and the port of the image.
    assert!(text(&services, "/relay/environment/RELAY_LISTEN").ends_with(":8443"));
    assert_eq!(list(&services, "/relay/ports"), ["443:8443"]);
    let target = yaml_one("deploy/prometheus.yml");
    assert_eq!(
        list(&target, "/scrape_configs/0/static_configs/0/targets"),
        ["relay:9090"]
    );
}

#[test]
fn compose_holds_no_secret_and_no_privilege() {
    let file = read("deploy/docker-compose.yml");
    let example = read("deploy/compose.env.example");
    for line in file
        .lines()
        .filter(|line| line.to_uppercase().contains("PASSWORD"))
    {
        let is_asked_for = line.contains(":?set it in .env}");
        assert!(is_asked_for || line.trim_start().starts_with('#'), "{line}");
    }
    for name in ["POSTGRES_PASSWORD", "GRAFANA_PASSWORD"] {
        assert!(
            example.contains(&format!("\n{name}=\n")),
            "{name} is explained, and empty"
        );
    }
    let services = services();
    assert_eq!(services["relay"]["read_only"], true);
    assert_eq!(list(&services, "/relay/cap_drop"), ["ALL"]);
    // Only the relay's public port is for everyone.
    for name in ["postgres", "prometheus", "grafana"] {
        let ports = services[name]["ports"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for port in ports {
            assert!(
                port.as_str().unwrap().starts_with("127.0.0.1:"),
                "{name} {port}"
            );
        }
    }
}

#[test]
fn every_file_that_compose_mounts_is_here() {
    for (name, service) in services().as_object().unwrap() {
        let volumes = service["volumes"].as_array().cloned().unwrap_or_default();
        for volume in volumes {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            // Certificates are the operator's, named volumes Docker's.
            if source.starts_with("./") && source != "./certs" {
                assert!(
                    root().join("deploy").join(source).exists(),
                    "{name}: {source}"
                );
            }
        }
    }
}

#[test]
fn a_container_is_given_longer_than_the_relay_takes_to_drain() {
    let grace = services()["relay"]["stop_grace_period"].clone();
    let seconds: u64 = grace
        .as_str()
        .unwrap()
        .trim_end_matches('s')
        .parse()
        .unwrap();
    let drain = mls_relay::config::Config::default().process.drain_grace;
    assert!(seconds >= drain.as_secs() + 10);
}
