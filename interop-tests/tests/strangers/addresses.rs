//! Sources at public addresses that lead to private ones.

use super::*;

/// Set in the process that runs in a network of its own.
const INSIDE: &str = "ODFS_TEST_INSIDE";
/// A public address, which that network has.
const PUBLIC: &str = "11.22.33.44";

#[test]
fn a_public_address_does_not_lead_to_a_private_one() -> Outcome {
    if std::env::var_os(INSIDE).is_some() {
        return redirected();
    }
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe()?)
        .args([
            "--exact",
            "strangers::addresses::a_public_address_does_not_lead_to_a_private_one",
            "--nocapture",
        ])
        .env(INSIDE, "1");
    let able = Command::new("unshare").args(["--net", "--mount", "true"]).output();
    if !able.is_ok_and(|output| output.status.success()) {
        if interop_tests::peers::required() {
            return Err("a network namespace is needed (run as root)".into());
        }
        interop_tests::peers::skip("no network namespace can be made here");
        return Ok(());
    }
    run(command, Duration::from_secs(180))?.success().map(drop)
}

fn redirected() -> Outcome {
    for args in [
        &["link", "set", "lo", "up"][..],
        &["addr", "add", "11.22.33.44/32", "dev", "lo"],
    ] {
        let mut ip = Command::new("ip");
        ip.args(args);
        run(ip, LIMIT)?.success()?;
    }
    let (public, hidden) = (Site::at(&format!("{PUBLIC}:80"))?, Site::at("127.0.0.1:0")?);
    let rows = || b"id,city\n1,Oslo\n".to_vec();
    public.put("/rows.csv", rows(), MODIFIED);
    hidden.put("/credentials", rows(), MODIFIED);
    public.redirect("/moved.csv", &format!("http://{PUBLIC}/rows.csv"));
    public.redirect("/evil.csv", &hidden.url("/credentials"));
    let (owner, other) = (Workspace::new()?, Workspace::new()?);
    let fetch = |page: &str| format!("{{kind: Url, url: 'http://{PUBLIC}{page}'}}");
    for (name, page) in [("plain", "/rows.csv"), ("moved", "/moved.csv"), ("evil", "/evil.csv")] {
        other.write("m.yaml", manifest(name, &fetch(page), "[]"))?;
        other.odfs(["add", "m.yaml"])?;
        let there = format!("file://{}", owner.path().join(name).display());
        other.odfs(["push", name, "--to", &there])?;
        owner.odfs(["pull", &there, "--as", name, "--no-alias"])?;
    }
    // What is public and written out needs nobody's approval.
    owner.odfs(["pull", "plain"])?;
    owner.odfs(["pull", "moved"])?;
    assert_eq!(
        (owner.dataset("plain")?.records, owner.dataset("moved")?.records),
        (1, 1)
    );
    for _ in 0..2 {
        says(&owner.run(["pull", "evil"])?, REFUSED, &["127.0.0.1", "does not name"])?;
        assert_eq!(hidden.asked(), [] as [&str; 0]);
        // Approved or not: what was shown is the public address.
        owner.odfs(["--yes", "approve", "evil"])?;
    }
    for (page, to) in [
        ("/file.csv", "file:///etc/hostname"),
        ("/gopher.csv", "gopher://127.0.0.1/"),
    ] {
        public.redirect(page, to);
        other.write("m.yaml", manifest("scheme", &fetch(page), "[]"))?;
        other.odfs(["--yes", "add", "--replace", "m.yaml"])?;
        let finished = other.run(["pull", "scheme"])?;
        assert!(!matches!(finished.code(), None | Some(0)), "{to}: {}", finished.stderr);
    }
    rebound(&public, &owner, &other)
}

/// A name that stood for a public address when its source was pulled, and stands for a private one later.
fn rebound(public: &Site, owner: &Workspace, other: &Workspace) -> Outcome {
    let hosts = owner.write("hosts", format!("{PUBLIC} data.example\n"))?;
    let mut mount = Command::new("mount");
    mount.arg("--bind").arg(&hosts).arg("/etc/hosts");
    run(mount, LIMIT)?.success()?;
    let inside = Site::at("127.0.0.1:80")?;
    public.put("/data.csv", b"id,city\n1,Oslo\n".to_vec(), MODIFIED);
    // Newer, so that it is no answer to say that nothing changed.
    let later = "Sun, 04 Jan 2026 00:00:01 GMT";
    inside.put("/data.csv", b"id,city\n3,s3cret\n".to_vec(), later);
    other.write(
        "m.yaml",
        manifest("moving", "{kind: Url, url: 'http://data.example/data.csv'}", "[]"),
    )?;
    other.odfs(["add", "m.yaml"])?;
    let there = format!("file://{}", owner.path().join("moving").display());
    other.odfs(["push", "moving", "--to", &there])?;
    owner.odfs(["pull", &there, "--as", "moving", "--no-alias"])?;
    owner.odfs(["pull", "moving"])?;
    assert_eq!(owner.dataset("moving")?.records, 1);
    // Agreed to or not, while it was public.
    owner.odfs(["--yes", "approve", "moving"])?;
    fs::write(&hosts, "127.0.0.1 data.example\n")?;
    says(
        &owner.run(["pull", "moving"])?,
        NOT_APPROVED,
        &["data.example", "127.0.0.1", "odfs approve moving"],
    )?;
    says(&other.run(["pull", "moving"])?, NOT_APPROVED, &["127.0.0.1"])?;
    assert_eq!(inside.asked(), [] as [&str; 0]);
    // Now that it is shown where it leads, its owner may agree.
    says(
        &owner.run(["approve", "moving"])?,
        REFUSED,
        &["data.example, now at 127.0.0.1"],
    )?;
    owner.odfs(["--yes", "approve", "moving"])?;
    owner.odfs(["pull", "moving"])?;
    assert_eq!((owner.dataset("moving")?.records, inside.asked().len()), (2, 1));
    Ok(())
}
