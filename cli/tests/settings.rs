//! `odfs config`, `odfs completions`, and the command line itself.

use crate::sandbox::Sandbox;

#[test]
fn settings_are_kept_and_the_environment_wins() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["config", "set", "gateway.public", "https://example.org/"])
        .ok();
    assert_eq!(
        sandbox.run(&["config", "get", "gateway.public"]).ok(),
        "https://example.org\n"
    );
    sandbox.run(&["config", "set", "network.mdns", "true"]).ok();
    assert_eq!(
        sandbox.run(&["config", "get", "network.mdns"]).ok(),
        "false\n",
        "ODFS_CONFIG says false"
    );
    let list = sandbox.run(&["config", "list", "--output", "csv"]).ok();
    assert!(list.starts_with("Key,Value,Origin,About\n"), "{list}");
    assert!(
        list.contains("\ngateway.public,https://example.org,config.toml,"),
        "{list}"
    );
    assert!(list.contains("\nnetwork.mdns,false,ODFS_CONFIG,"), "{list}");
    let json: serde_json::Value = serde_json::from_str(&sandbox.run(&["config", "list"]).ok()).unwrap();
    assert_eq!(json[1]["Key"], "network.bootstrap");
    assert_eq!(json[1]["Value"], serde_json::json!([]));
}

#[test]
fn wrong_settings_are_usage_errors_with_a_way_out() {
    let sandbox = Sandbox::new();
    let err = sandbox.run(&["config", "get", "network.bootstap"]).failed(2);
    assert!(err.contains("did you mean network.bootstrap?"), "{err}");
    let err = sandbox.run(&["config", "set", "gateway.listen", "nowhere"]).failed(2);
    assert!(err.contains("127.0.0.1:8080"), "{err}");
    sandbox.run(&["config", "get", "parquet.createdBy"]).failed(3);
    sandbox.file("workspace/config.toml", "[network\n");
    let err = sandbox.run(&["config", "list"]).failed(2);
    assert!(err.contains("config.toml"), "{err}");
    let err = sandbox.run(&["list"]).failed(2);
    assert!(err.contains("Next: "), "{err}");
}

#[test]
fn completions_need_no_workspace() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(sandbox.run(&["completions", shell]).ok().contains("odfs"), "{shell}");
    }
    assert!(!sandbox.workspace().exists());
}

#[test]
fn the_nearest_workspace_upwards_wins() {
    let sandbox = Sandbox::new();
    let deep = sandbox.path().join("project/a/b");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::create_dir(sandbox.path().join("project/.odfs")).unwrap();
    let outcome = sandbox
        .command(&["config", "set", "retention", "3"])
        .current_dir(&deep)
        .output()
        .unwrap();
    assert!(outcome.status.success());
    let text = std::fs::read_to_string(sandbox.path().join("project/.odfs/config.toml")).unwrap();
    assert_eq!(text, "retention = 3\n");
    assert!(!sandbox.workspace().exists());
}

#[test]
fn help_names_the_exit_codes() {
    let sandbox = Sandbox::new();
    let help = sandbox.run(&["--help"]).ok();
    for line in ["    0  done", "    7  refused", "  130  interrupted"] {
        assert!(help.contains(line), "{help}");
    }
    assert_eq!(sandbox.run(&["frobnicate"]).code, Some(2));
    assert_eq!(sandbox.run(&[]).code, Some(2));
}
