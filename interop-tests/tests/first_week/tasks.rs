//! The twelve tasks of a first week. Ada and Ben know CSV, git and Python.

use interop_tests::{Failure, Outcome, terminal};

use super::transcript::{Person, Transcript};

const FIRST: &str = "id,city,level\n1,Oslo,1.5\n2,Rome,2.0\n3,Bern,0.4\n";
const CORRECTED: &str = "id,city,level\n1,Oslo,1.5\n2,Roma,2.0\n3,Bern,0.4\n4,Kyiv,0.9\n";

/// Someone who has published three stations, identified by `id`, in a way that takes corrections.
fn published(name: &'static str) -> Outcome<Person> {
    let person = Person::new(name)?;
    person.workspace.write("stations.csv", FIRST)?;
    let args = "publish stations.csv --primary-key id --merge snapshot --exit";
    person.workspace.odfs(args.split(' '))?;
    Ok(person)
}

/// The address that a person hands on: `ipns://k51…`.
fn address(person: &Person) -> Outcome<String> {
    let listed = person.workspace.dataset("stations")?;
    Ok(format!(
        "ipns://{}",
        listed.ipns.ok_or("stations has no name of its own")?
    ))
}

#[test]
fn publish_share_look_verify() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let (mut ada, ben) = (Person::new("ada")?, Person::new("ben")?);
    let mut seen = Transcript::new("01-share.txt", "Ada has a table and Ben wants it");
    seen.write(&ada, "stations.csv", FIRST)?;
    let told = seen.odfs(&ada, "publish stations.csv --exit")?;
    seen.odfs(&ada, "list")?;
    seen.odfs(&ada, "tail stations")?;
    seen.odfs(&ada, "verify")?;
    seen.note("Ben is on the same desk, so he asks Ada's machine; elsewhere the network finds it");
    seen.start_node(&mut ada)?;
    seen.odfs(&ada, "status")?;
    let line = told.text();
    let pull = line.lines().find_map(|line| line.trim().strip_prefix("pull "));
    let pull = pull.ok_or_else(|| told.failure("prints no command for others"))?.trim();
    let pull = pull.strip_prefix("odfs ").ok_or("not a command of odfs")?;
    seen.odfs(&ben, &format!("{pull} --peer {}", ada.address()?))?;
    seen.odfs(&ben, "list")?;
    seen.odfs(&ben, "tail stations")?;
    seen.odfs(&ben, "inspect schema stations")?;
    seen.odfs(&ben, "verify stations")?;
    seen.note("The next day: nothing is new, and then Ada's machine is off");
    let again = format!("pull stations --peer {}", ada.address()?);
    seen.odfs(&ben, &again)?;
    seen.stop_node(&mut ada)?;
    seen.refused(&ben, "pull stations", 9)?;
    seen.end()
}

#[test]
fn correct_a_row() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let ada = Person::new("ada")?;
    let mut seen = Transcript::new("02-correct.txt", "A row was wrong");
    seen.note("A table that only grows does not take it");
    seen.write(&ada, "stations.csv", FIRST)?;
    seen.odfs(&ada, "publish stations.csv --exit")?;
    seen.write(&ada, "stations.csv", CORRECTED)?;
    seen.refused(&ada, "publish stations.csv --exit", 7)?;
    seen.note("One whose rows have a key does");
    seen.write(&ada, "cities.csv", FIRST)?;
    seen.odfs(&ada, "publish cities.csv --primary-key id --merge snapshot --exit")?;
    seen.write(&ada, "cities.csv", CORRECTED)?;
    seen.odfs(&ada, "publish cities.csv --exit")?;
    seen.odfs(&ada, "publish cities.csv --exit")?;
    seen.odfs(&ada, "export cities -")?;
    seen.note("A file with one row, by mistake");
    seen.write(&ada, "cities.csv", "id,city,level\n1,Oslo,1.5\n")?;
    seen.run(&ada, "publish cities.csv --exit", "n\n")?.refusal()?;
    seen.note("And on purpose");
    seen.run(&ada, "publish cities.csv --exit", "y\n")?.success()?;
    seen.end()
}

#[test]
fn add_a_column() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let ada = published("ada")?;
    let mut seen = Transcript::new("03-column.txt", "The table gets a column");
    seen.write(
        &ada,
        "stations.csv",
        "id,city,level,note\n1,Oslo,1.5,\n2,Rome,2.0,moved\n3,Bern,0.4,\n",
    )?;
    seen.refused(&ada, "publish stations.csv --exit", 6)?;
    seen.odfs(&ada, "alter stations --add-column 'note STRING'")?;
    seen.odfs(&ada, "publish stations.csv --exit")?;
    seen.odfs(&ada, "inspect schema stations")?;
    seen.odfs(&ada, "export stations -")?;
    seen.end()
}

#[test]
fn describe() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let ada = published("ada")?;
    let mut seen = Transcript::new("04-describe.txt", "What it is about, and what others may do with it");
    seen.write(&ada, "README.md", "# Stations\nMeasured daily.\n")?;
    seen.odfs(
        &ada,
        "alter stations --description 'Water levels, daily' --keyword water --license CC-BY-4.0 --attach README.md",
    )?;
    seen.odfs(&ada, "log stations")?;
    seen.refused(&ada, "alter stations --detach LICENSE.md", 3)?;
    seen.refused(&ada, "alter stations", 2)?;
    seen.odfs(&ada, "push stations")?;
    seen.end()
}

#[test]
fn see_what_changed_and_how_it_was() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let ada = published("ada")?;
    ada.workspace.write("stations.csv", CORRECTED)?;
    ada.workspace.odfs(["publish", "stations.csv", "--exit"])?;
    let mut seen = Transcript::new("05-history.txt", "What changed, and how was it last week?");
    seen.odfs(&ada, "log stations")?;
    seen.odfs(&ada, "diff stations")?;
    seen.odfs(&ada, "diff stations 3 head --stat")?;
    seen.odfs(&ada, "diff stations 1 3")?;
    seen.odfs(&ada, "tail stations --as-of 3")?;
    seen.odfs(&ada, "export stations - --as-of 3")?;
    seen.note("A day before there was anything, and a block that is not there");
    seen.refused(&ada, "export stations - --as-of 2024-01-01", 3)?;
    seen.refused(&ada, "diff stations 99", 3)?;
    seen.end()
}

#[test]
fn get_rows_out() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let ada = published("ada")?;
    ada.workspace.write("stations.csv", CORRECTED)?;
    ada.workspace.odfs(["publish", "stations.csv", "--exit"])?;
    let mut seen = Transcript::new("06-export.txt", "Rows for pandas and for a colleague's spreadsheet");
    seen.odfs(&ada, "export stations out.csv")?;
    seen.show(&ada, "out.csv")?;
    seen.odfs(&ada, "export stations out.parquet")?;
    seen.odfs(&ada, "export stations - --format ndjson")?;
    seen.odfs(&ada, "export stations - --history")?;
    seen.refused(&ada, "export stations out.csv", 7)?;
    seen.odfs(&ada, "export stations out.csv --force")?;
    seen.refused(&ada, "export stations week/out.csv", 3)?;
    seen.end()
}

#[test]
fn close_the_lid_and_move_to_another_machine() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let (ada, mut ben, laptop) = (published("ada")?, Person::new("ben")?, Person::new("laptop")?);
    let mut seen = Transcript::new("07-lid.txt", "May the lid be closed? And what if this machine is lost?");
    seen.odfs(&ada, "status")?;
    seen.refused(&ada, "publish stations.csv --exit --require-holders 1", 9)?;
    seen.note("Ben's node comes within reach");
    seen.start_node(&mut ben)?;
    ada.workspace.know(&[ben.address()?])?;
    seen.odfs(&ada, "publish stations.csv --exit --require-holders 1")?;
    seen.odfs(&ada, "status")?;
    let pull = format!("pull {} --as stations --exit", address(&ada)?);
    seen.note("Ben keeps a copy, so that the rows are there too, not only the name");
    let node = ada.workspace.node()?;
    let pull = format!("{} --peer {}", pull.trim_end_matches(" --exit"), node.address);
    seen.odfs(&ben, &pull)?;
    node.stop()?;
    seen.odfs(&ada, "key export stations --output stations.key")?;
    seen.hand(&ada, "stations.key", &laptop)?;
    seen.note("On the laptop, with the file as it is by now");
    laptop.workspace.know(&[ben.address()?])?;
    seen.odfs(&laptop, "key import stations stations.key")?;
    seen.write(&laptop, "stations.csv", CORRECTED)?;
    seen.odfs(&laptop, "publish stations.csv --exit")?;
    seen.odfs(&laptop, "log stations")?;
    if address(&laptop)? != address(&ada)? {
        return Err(Failure::new("the laptop publishes under another name"));
    }
    seen.end()
}

#[test]
fn two_people_with_one_key() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let (mut ada, mut ben) = (published("ada")?, Person::new("ben")?);
    let mut seen = Transcript::new("08-two-people.txt", "Ada and Ben both feed the table");
    seen.odfs(&ada, "key export stations --output stations.key")?;
    seen.hand(&ada, "stations.key", &ben)?;
    seen.odfs(&ben, "key import stations stations.key")?;
    seen.start_node(&mut ada)?;
    ben.workspace.know(&[ada.address()?])?;
    seen.start_node(&mut ben)?;
    let with_lyon = "id,city,level\n1,Oslo,1.5\n2,Rome,2.0\n3,Bern,0.4\n5,Lyon,0.2\n";
    seen.write(&ben, "stations.csv", with_lyon)?;
    seen.odfs(&ben, "publish stations.csv --exit")?;
    seen.stop_node(&mut ada)?;
    seen.note("Ada corrects a row and adds one, and knows nothing of it");
    ada.workspace.know(&[ben.address()?])?;
    let peer = ben.address()?.to_owned();
    seen.write(&ada, "stations.csv", CORRECTED)?;
    seen.refused(&ada, &format!("publish stations.csv --exit --peer {peer}"), 7)?;
    seen.odfs(&ada, &format!("pull stations --peer {peer}"))?;
    seen.odfs(&ada, "diff stations")?;
    seen.note("Her file is all there is, so the row from Ben has to be in it");
    let both = format!("{CORRECTED}5,Lyon,0.2\n");
    seen.write(&ada, "stations.csv", &both)?;
    seen.start_node(&mut ada)?;
    seen.odfs(&ada, "publish stations.csv --exit")?;
    seen.odfs(&ben, "pull stations")?;
    seen.odfs(&ben, "export stations -")?;
    seen.note("Ben publishes once more and goes; Ada has heard of it, and nobody has what it is");
    seen.write(&ben, "stations.csv", &both.replace("0.2", "0.3"))?;
    seen.odfs(&ben, "publish stations.csv --exit")?;
    seen.stop_node(&mut ben)?;
    seen.write(&ada, "stations.csv", &both.replace("0.9", "1.0"))?;
    seen.refused(&ada, "publish stations.csv --exit", 9)?;
    seen.stop_node(&mut ada)?;
    seen.end()
}

#[test]
fn unpublish() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let ada = published("ada")?;
    let mut seen = Transcript::new("09-unpublish.txt", "It should not have been public");
    seen.odfs(&ada, "unpublish stations")?;
    seen.odfs(&ada, "list")?;
    seen.odfs(&ada, "status")?;
    seen.odfs(&ada, "unpublish stations")?;
    seen.note("Away with it altogether");
    seen.run(&ada, "delete stations", "n\n")?.refusal()?;
    seen.run(&ada, "delete stations --with-key", "y\n")?.success()?;
    seen.odfs(&ada, "list")?;
    seen.end()
}

#[test]
fn ten_mistakes() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let ada = published("ada")?;
    let mut seen = Transcript::new("10-mistakes.txt", "Ten mistakes");
    seen.refused(&ada, "publish station.csv", 3)?;
    seen.refused(&ada, "pubish stations.csv", 2)?;
    seen.write(&ada, "ragged.csv", "id,city\n1,Oslo\n2\n")?;
    seen.refused(&ada, "publish ragged.csv --exit", 5)?;
    seen.write(
        &ada,
        "stations.csv",
        "id,city,level\n1,Oslo,1.5\n2,Rome,high\n3,Bern,0.4\n",
    )?;
    seen.refused(&ada, "publish stations.csv --exit", 6)?;
    seen.refused(&ada, "tail statons", 3)?;
    seen.refused(&ada, "pull stations", 9)?;
    seen.refused(&ada, "pull k51nothing", 3)?;
    seen.refused(&ada, "publish notes.txt", 3)?;
    seen.refused(&ada, "export stations out.xls", 2)?;
    // What the name could be is said where others name a next step.
    let renamed = seen.run(&ada, "rename stations 'my stations'", "")?.refusal()?;
    assert!(renamed.stderr.contains("`my-stations` would do"), "{}", renamed.stderr);
    seen.end()
}

#[test]
fn cron_and_scripts() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let ada = Person::new("ada")?;
    let mut seen = Transcript::new("11-cron.txt", "Every night, with nobody there");
    seen.write(&ada, "log.csv", "id,city\n1,Oslo\n")?;
    seen.unattended(&ada, "publish log.csv --exit -o json")?.success()?;
    seen.unattended(&ada, "publish log.csv --exit -o json")?.success()?;
    seen.write(&ada, "log.csv", "id,city\n1,Oslo\n2,Rome\n")?;
    seen.unattended(&ada, "publish log.csv --exit -o json")?.success()?;
    seen.unattended(&ada, "list")?.success()?;
    seen.unattended(&ada, "tail log -n 1")?.success()?;
    seen.write(&ada, "log.csv", "id,city\n1,Oslo\n")?;
    seen.unattended(&ada, "publish log.csv --exit -o json")?.refusal()?;
    seen.unattended(&ada, "delete log")?.refusal()?;
    seen.unattended(&ada, "verify")?.success()?;
    seen.end()
}

#[test]
fn undo() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let ada = published("ada")?;
    ada.workspace.write("stations.csv", CORRECTED)?;
    ada.workspace.odfs(["publish", "stations.csv", "--exit"])?;
    let mut seen = Transcript::new("12-undo.txt", "That was wrong: back to how it was");
    seen.odfs(&ada, "diff stations")?;
    seen.run(&ada, "restore stations 3", "n\n")?.refusal()?;
    seen.run(&ada, "restore stations 3", "y\n")?.success()?;
    seen.odfs(&ada, "export stations -")?;
    seen.odfs(&ada, "push stations")?;
    seen.note("And the restore, too, can be undone");
    seen.run(&ada, "restore stations 4", "y\n")?.success()?;
    seen.odfs(&ada, "export stations -")?;
    seen.note("Cutting off what was added last is another thing");
    seen.run(&ada, "reset stations 4", "n\n")?.refusal()?;
    seen.end()
}
