//! What is kept of what others put, by the rules of one peer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use super::*;

struct Bench {
    records: Records,
    table: Table,
    now: Arc<AtomicU64>,
}

fn bench() -> Bench {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let table = Table::in_memory();
    let records = open(&table, &now);
    Bench { records, table, now }
}

fn open(table: &Table, now: &Arc<AtomicU64>) -> Records {
    let now = Arc::clone(now);
    let clock = Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed)));
    let schedule = Schedule::open(Table::in_memory(), clock.clone());
    let [lan, _] = Records::open(table, &schedule, PeerId::random(), &clock);
    lan
}

fn provider(key: &[u8], address: &str) -> ProviderRecord {
    ProviderRecord::new(RecordKey::new(&key), PeerId::random(), vec![address.parse().unwrap()])
}

/// Somebody in a network of that number.
fn owner(network: u8) -> Owner {
    Owner::new([4, network, 0, 0, 0], &PeerId::random())
}

/// As libp2p hands over a record that came from `owner`.
fn add(records: &mut Records, record: ProviderRecord, owner: Owner) -> Result<()> {
    records.expect_from(owner);
    records.add_provider(record)
}

fn size(shelf: &Mutex<Shelf>) -> usize {
    lock(shelf).with_prefix(b"").count()
}

#[test]
fn records_survive_a_restart_and_expire_by_the_clock() {
    let mut bench = bench();
    assert_eq!((bench.records.provider_bytes(), bench.records.value_bytes()), (0, 0));
    add(&mut bench.records, provider(b"key", "/ip4/10.0.0.1/tcp/1"), owner(1)).unwrap();
    assert!(bench.records.provider_bytes() > 0 && bench.records.value_bytes() == 0);
    bench
        .records
        .put_value(b"/ipns/x", b"record", 1_000_100, owner(1))
        .unwrap();
    assert_eq!(bench.table.scan_prefix(b"").count(), 0, "nothing waits for the table");
    bench.records.put_kept(b"/ipns/own", b"ours", 1_000_200);
    assert_eq!(
        bench.table.scan_prefix(b"").count(),
        1,
        "what is ours is on the disk at once"
    );
    bench.records.write_out();

    let reopened = open(&bench.table, &bench.now);
    assert_eq!(reopened.providers(&RecordKey::new(b"key")).len(), 1);
    assert_eq!(reopened.value(b"/ipns/x").unwrap(), b"record");
    assert_eq!(reopened.value(b"/ipns/own").unwrap(), b"ours");

    bench.now.store(1_000_100, Ordering::Relaxed);
    assert_eq!(reopened.value(b"/ipns/x"), None);
    bench.now.store(1_000_000 + PROVIDER_TTL.as_secs(), Ordering::Relaxed);
    assert!(reopened.providers(&RecordKey::new(b"key")).is_empty());
    reopened.sweep();
    reopened.write_out();
    assert_eq!(bench.table.scan_prefix(b"").count(), 0);
}

#[test]
fn records_of_earlier_versions_are_read_once() {
    let bench = bench();
    let at = |end: u64, rest: &[u8]| [&end.to_be_bytes(), rest].concat();
    let peer = PeerId::random();
    let address: Multiaddr = "/ip4/10.0.0.1/tcp/1".parse().unwrap();
    let addresses = [&(address.len() as u16).to_be_bytes(), address.as_ref()].concat();
    let key = |network: u8| [&[OLD_PROVIDER, network, 0, 3][..], b"key", &peer.to_bytes()].concat();
    bench.table.insert(b"v/ipns/x", &at(1_000_100, b"record")).unwrap();
    bench.table.insert(b"v/ipns/y", &at(999_999, b"expired")).unwrap();
    bench.table.insert(&key(0), &at(1_000_100, &addresses)).unwrap();
    bench.table.insert(&key(1), &at(1_000_100, &addresses)).unwrap();
    bench.table.insert(&key(2), &at(1_000_100, &addresses)).unwrap();

    let read = open(&bench.table, &bench.now);
    read.write_out();
    for records in [read, open(&bench.table, &bench.now)] {
        assert_eq!(records.value(b"/ipns/x").unwrap(), b"record");
        assert_eq!(records.value(b"/ipns/y"), None);
        let found = records.providers(&RecordKey::new(b"key"));
        assert_eq!((found[0].provider, &found[0].addresses), (peer, &vec![address.clone()]));
        assert_eq!(records.shared.providers.each_ref().map(size), [1, 1]);
    }
    assert_eq!(bench.table.scan_prefix(b"").count(), 3);
    forget_in(&bench.table, b"/ipns/x").unwrap();
    assert_eq!(open(&bench.table, &bench.now).value(b"/ipns/x"), None);
}

#[test]
fn providers_need_a_usable_address_and_a_key_within_the_limit() {
    let mut bench = bench();
    let longest = [7; MAX_PROVIDER_KEY_BYTES];
    assert!(
        bench
            .records
            .add_provider(provider(&longest, "/ip4/10.0.0.1/tcp/1"))
            .is_ok()
    );
    let too_long = [7; MAX_PROVIDER_KEY_BYTES + 1];
    assert!(
        bench
            .records
            .add_provider(provider(&too_long, "/ip4/10.0.0.1/tcp/1"))
            .is_err()
    );
    assert!(
        bench
            .records
            .add_provider(provider(b"", "/ip4/10.0.0.1/tcp/1"))
            .is_err()
    );
    assert!(
        bench
            .records
            .add_provider(provider(b"k", "/ip4/0.0.0.0/tcp/1"))
            .is_err()
    );
    let silent = ProviderRecord::new(RecordKey::new(b"k"), PeerId::random(), Vec::new());
    assert!(bench.records.add_provider(silent).is_err());
}

#[test]
fn one_provider_over_the_limit_displaces_the_most_silent() {
    let mut bench = bench();
    let first = provider(b"k", "/ip4/10.0.0.1/tcp/1");
    add(&mut bench.records, first.clone(), owner(1)).unwrap();
    bench.now.fetch_add(60, Ordering::Relaxed);
    for _ in 0..MAX_PROVIDERS_PER_KEY {
        add(&mut bench.records, provider(b"k", "/ip4/10.0.0.2/tcp/1"), owner(1)).unwrap();
    }
    let kept = bench.records.providers(&RecordKey::new(b"k"));
    assert_eq!(kept.len(), MAX_PROVIDERS_PER_KEY);
    assert!(kept.iter().all(|record| record.provider != first.provider));
}

#[test]
fn one_network_cannot_have_all_providers_of_a_key() {
    let mut bench = bench();
    let honest = provider(b"k", "/ip4/10.0.0.1/tcp/1");
    add(&mut bench.records, honest.clone(), owner(100)).unwrap();
    for number in 0..100 {
        bench.now.fetch_add(60, Ordering::Relaxed);
        add(
            &mut bench.records,
            provider(b"k", "/ip4/10.0.0.2/tcp/1"),
            owner(number % 8),
        )
        .unwrap();
    }
    let kept = bench.records.providers(&RecordKey::new(b"k"));
    assert_eq!(kept.len(), MAX_PROVIDERS_PER_KEY);
    assert!(kept.iter().any(|record| record.provider == honest.provider));
}

#[test]
fn seventy_thousand_providers_from_one_network_leave_the_others() {
    let mut bench = bench();
    let honest = provider(b"honest", "/ip4/10.0.0.1/tcp/1");
    add(&mut bench.records, honest.clone(), owner(100)).unwrap();
    let flood = [1, 2, 3, 4].map(|_| (provider(b"", "/ip4/10.0.0.2/tcp/4001"), owner(1)));
    for number in 0..70_000usize {
        let (mut fake, owner) = flood[number % flood.len()].clone();
        fake.key = RecordKey::new(&[&[0x12, 32][..], &[7; 24], &number.to_be_bytes()].concat());
        // What is farthest of a flood is refused once there is no room.
        let _ = add(&mut bench.records, fake, owner);
    }
    assert_eq!(
        bench.records.providers(&RecordKey::new(b"honest"))[0].provider,
        honest.provider
    );
    let [lan, _] = &bench.records.shared.providers;
    assert!((55_000..65_000).contains(&size(lan)), "{} records", size(lan));
    bench.records.write_out();
}

#[test]
fn a_record_that_a_flood_puts_again_does_not_go_with_it() {
    let bench = bench();
    let flood = owner(1);
    let fill = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let _ = bench
                .records
                .put_value(&number.to_be_bytes(), &[0; 1024], u64::MAX, flood);
        }
    };
    fill(0..100);
    bench.records.put_value(b"name", b"1", u64::MAX, owner(2)).unwrap();
    bench.records.put_value(b"name", b"2", u64::MAX, flood).unwrap();
    fill(100..20_000);
    assert_eq!(bench.records.value(b"name").unwrap(), b"2");
    // And one that a flood put first is whose it is who puts it, too.
    bench
        .records
        .put_value(&7u32.to_be_bytes(), b"honest", u64::MAX, owner(3))
        .unwrap();
    fill(20_000..40_000);
    assert_eq!(bench.records.value(&7u32.to_be_bytes()).unwrap(), b"honest");
}

#[test]
fn only_what_was_judged_is_confirmed_and_once() {
    let mut bench = bench();
    let put = |records: &mut Records| RecordStore::put(records, Record::new(b"k".to_vec(), b"v".to_vec()));
    assert!(put(&mut bench.records).is_err());
    bench.records.expect_kept();
    assert!(put(&mut bench.records).is_ok());
    assert!(put(&mut bench.records).is_err());
}

#[test]
fn addresses_of_one_provider_are_capped() {
    let mut bench = bench();
    let mut record = provider(b"k", "/ip4/10.0.0.1/tcp/1");
    record.addresses = (1..=MAX_PROVIDER_ADDRESSES as u16 + 1)
        .map(|port| format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap())
        .collect();
    bench.records.add_provider(record).unwrap();
    assert_eq!(
        bench.records.providers(&RecordKey::new(b"k"))[0].addresses.len(),
        MAX_PROVIDER_ADDRESSES
    );
}

#[test]
fn a_value_over_the_limits_is_refused() {
    let bench = bench();
    let put = |key: &[u8], value: &[u8]| bench.records.put_value(key, value, u64::MAX, owner(1));
    assert!(put(b"k", &[0; MAX_VALUE_BYTES]).is_ok());
    assert!(put(b"k", &[0; MAX_VALUE_BYTES + 1]).is_err());
    assert!(put(&[0; MAX_VALUE_KEY_BYTES + 1], b"").is_err());
    assert!(put(&[0; MAX_VALUE_KEY_BYTES], b"").is_ok());
    for number in 0..2 * MAX_VALUE_BYTES_IN_ALL / MAX_VALUE_BYTES {
        let _ = put(&number.to_be_bytes(), &[0; MAX_VALUE_BYTES]);
    }
    let in_all = size(&bench.records.shared.values) * MAX_VALUE_BYTES;
    assert!(in_all <= MAX_VALUE_BYTES_IN_ALL && in_all > MAX_VALUE_BYTES_IN_ALL / 2);
}
