use libp2p::identity::Keypair;

use super::super::record::Contents;
use super::*;

const LIFE: Duration = Duration::from_secs(3600);

fn key_and_name() -> (Keypair, Name) {
    let key = Keypair::generate_ed25519();
    let name = Name::from_public_key(&key.public());
    (key, name)
}

fn record(key: &Keypair, value: &str, sequence: u64) -> Record {
    let contents = Contents {
        value,
        sequence,
        valid_until: SystemTime::now() + LIFE,
        ttl: LIFE,
    };
    Record::create(key, &contents).unwrap()
}

fn root(n: u8) -> Cid {
    *crate::block::Block::new(crate::block::RAW, vec![n]).unwrap().cid()
}

fn roots_kept(table: &Table) -> usize {
    table.scan_prefix(&[ROOTS]).count()
}

#[test]
fn a_root_is_named_for_as_long_as_a_name_that_is_kept_stands_for_it() {
    let table = Table::in_memory();
    let states = States::new(table.clone());
    let (key, name) = key_and_name();
    let say = |value: String, sequence, own| {
        let record = record(&key, &value, sequence);
        states
            .update(&name, |entry| {
                entry.own = own;
                entry.offer(&record);
            })
            .unwrap();
    };
    let named = || [0, 1, 2].map(|n| states.is_named(&root(n)).unwrap());
    assert_eq!(named(), [false; 3]);
    // One that was only looked up keeps nothing.
    say(format!("/ipfs/{}", root(0)), 1, false);
    assert_eq!(named(), [false; 3]);
    say(format!("/ipfs/{}", root(0)), 1, true);
    assert_eq!(named(), [true, false, false]);
    say(format!("/ipfs/{}/data", root(1)), 2, true);
    assert_eq!(named(), [false, true, false]);
    say("/ipns/example".to_owned(), 3, true);
    assert_eq!(named(), [false; 3]);
    say(format!("/ipfs/{}", root(2)), 4, true);
    // Another one stands for the same.
    let (other_key, other) = key_and_name();
    let same = record(&other_key, &format!("/ipfs/{}", root(2)), 1);
    states
        .update(&other, |entry| {
            entry.followed = true;
            entry.offer(&same);
        })
        .unwrap();
    assert_eq!(states.all().unwrap().len(), 2);
    states.remove(&name).unwrap();
    assert_eq!(named(), [false, false, true]);
    states.update(&other, |entry| entry.followed = false).unwrap();
    assert_eq!(named(), [false; 3]);
    assert_eq!(roots_kept(&table), 1, "nothing is left of roots that are not named");
    states.update(&other, |entry| entry.followed = true).unwrap();
    assert_eq!(named(), [false, false, true]);
}

#[test]
fn the_names_that_were_withdrawn_are_known_without_looking_at_the_others() {
    let table = Table::in_memory();
    let states = States::new(table.clone());
    let [a, b, c] = [0; 3].map(|_| key_and_name().1);
    let set = |name: &Name, withdrawn| states.update(name, |entry| entry.withdrawn = withdrawn).unwrap();
    // As an earlier version wrote it.
    let entry = Known {
        withdrawn: true,
        ..Known::default()
    };
    table
        .insert(&key(&a), &serde_ipld_dagcbor::to_vec(&entry).unwrap())
        .unwrap();
    states.update(&b, |entry| entry.own = true).unwrap();
    assert_eq!(states.withdrawn().unwrap(), [a]);
    set(&c, true);
    set(&a, false);
    assert_eq!(states.withdrawn().unwrap(), [c]);
    set(&b, true);
    states.remove(&c).unwrap();
    assert_eq!(states.withdrawn().unwrap(), [b]);
    // What is written down counts only if the name says the same.
    table.insert(&withdrawn_key(&a), &[]).unwrap();
    assert_eq!(states.withdrawn().unwrap(), [b]);
    assert_eq!(states.all().unwrap().len(), 2);
}

#[test]
fn what_is_due_is_known_without_looking_at_what_is_not() {
    let table = Table::in_memory();
    let states = States::new(table.clone());
    let set = |name: &Name, own, next_put| {
        let change = |entry: &mut Known| (entry.own, entry.next_put) = (own, next_put);
        states.update(name, change).unwrap();
    };
    let [a, b, c] = [0; 3].map(|_| key_and_name().1);
    set(&a, true, 10);
    set(&b, false, 10);
    assert_eq!(states.due(9).unwrap(), []);
    assert_eq!(states.due(10).unwrap(), [a]);
    set(&c, true, 5);
    set(&a, true, 20);
    assert_eq!(states.due(10).unwrap(), [c]);
    assert_eq!(states.due(20).unwrap(), [c, a]);
    set(&b, true, 10);
    set(&c, false, 5);
    states.remove(&a).unwrap();
    assert_eq!(states.due(20).unwrap(), [b]);
    assert_eq!(States::new(table).due(20).unwrap(), [b]);
}

#[test]
fn who_else_publishes_with_the_same_key_is_noted_unless_they_knew_of_this() {
    let (key, name) = key_and_name();
    let ours = record(&key, "/ipfs/ours", 4);
    let mut entry = Known {
        own: true,
        published: ours.bytes().to_vec(),
        ..Known::default()
    };
    entry.offer(&ours);
    entry.hear(&ours, 1);
    entry.hear(&record(&key, "/ipfs/older", 3), 1);
    entry.hear(&record(&key, "/ipfs/ours", 9), 1);
    assert_eq!(entry.status(name).rival, None);
    // Of the same number, whichever of the two holds; and one that holds.
    entry.record = ours.bytes().to_vec();
    entry.hear(&record(&key, "/ipfs/theirs", 4), 2);
    let rival = entry.status(name).rival.unwrap();
    assert_eq!((rival.value.as_str(), rival.heard), ("/ipfs/theirs", from_unix(2)));
    entry.hear(&record(&key, "/ipfs/theirs", 7), 3);
    let rival = entry.status(name).rival.unwrap();
    assert_eq!((rival.heard, rival.leads), (from_unix(2), true));
    assert!(entry.rival_says(&name, "/ipfs/theirs") && !entry.rival_says(&name, "/ipfs/ours"));
    // Nobody else's name has rivals.
    entry.own = false;
    assert_eq!(entry.status(name).rival, None);
}

#[test]
fn names_of_before_there_were_roots_are_found_once_and_then_no_other_name_is_looked_at() {
    let table = Table::in_memory();
    // As an earlier version wrote it.
    let write = |n: u8| {
        let (pair, name) = key_and_name();
        let entry = Known {
            record: record(&pair, &format!("/ipfs/{}", root(n)), 1).bytes().to_vec(),
            own: true,
            ..Known::default()
        };
        let bytes = serde_ipld_dagcbor::to_vec(&entry).unwrap();
        table.insert(&key(&name), &bytes).unwrap();
        name
    };
    write(0);
    let name = write(1);
    let states = States::new(table.clone());
    for n in [0, 1] {
        assert!(states.is_named(&root(n)).unwrap());
    }
    // Whoever looked at every name would come upon this one.
    write(2);
    assert!(!states.is_named(&root(2)).unwrap());
    // What is written down of a root counts only if the name says the same.
    table.insert(&root_key(&root(3), &name), &[]).unwrap();
    assert!(!states.is_named(&root(3)).unwrap());
    assert_eq!(states.all().unwrap().len(), 3);
}
