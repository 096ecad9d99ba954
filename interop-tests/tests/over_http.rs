//! Pulls over HTTP alone: through gateways of odfs and of Kubo, through false and silent ones, and with every other port closed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use interop_tests::netns::Wire;
use interop_tests::pebble::free_port;
use interop_tests::peers::note;
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Certificate, Kubo, Outcome, Workspace, http};
use sha2::{Digest as _, Sha256};

/// How long two connected peers may take to have each other in their DHTs.
const SOON: Duration = Duration::from_secs(20);
/// The most memory of a pull, in MiB, whatever a gateway gives.
const MOST_MIB: u64 = 200;

#[test]
fn a_dataset_comes_through_a_firewall_that_knows_of_web_sites_alone() -> Outcome {
    let Some(wire) = Wire::lay()? else { return Ok(()) };
    let here = Workspace::in_namespace(wire.left().name())?;
    let there = Workspace::in_namespace(wire.right().name())?;
    here.configure("[gateway]\nlisten = \"0.0.0.0:8080\"\n")?;
    let file = here.write("t.csv", table(1_500))?.display().to_string();
    let published = here.publish(&[&file, "--name", "t"])?;
    let node = here.node()?;
    wire.right().let_out_only(8080)?;
    let name = format!("ipns://{}", published.name);
    let gateway = format!("http://{}:8080", wire.left().address);

    let unreached = there.refused(["pull", &name, "--as", "t", "--peer", &node.address])?;
    assert_eq!(unreached.code(), Some(9), "{}", unreached.stderr);
    there.odfs(["pull", &name, "--as", "t", "--gateway", &gateway])?;
    same_dataset((&here, "t"), (&there, "t"))?;

    // What is new comes by the name alone, where the gateway is set.
    here.write("t.csv", table(1_600))?;
    here.publish(&[&file, "--name", "t"])?;
    there.odfs(["config", "set", "network.gateways", &gateway])?;
    there.odfs(["pull", "t"])?;
    same_dataset((&here, "t"), (&there, "t"))?;
    let again = there.odfs(["pull", "t"])?;
    assert!(again.text().contains("t is up to date"), "{}", again.text());
    Ok(())
}

#[test]
fn a_dataset_comes_through_a_gateway_of_kubo() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let here = Workspace::new()?;
    let node = here.node()?;
    kubo.connect(&node.address)?;
    kubo.wait_for_dht_peer(&node.peer_id, SOON)?;
    let published = here.publish_often("t", 12)?;
    // It has all of it then, and the record.
    kubo.ok(["pin", "add", &published.root])?;
    kubo.ok(["name", "resolve", "--nocache", &published.name])?;

    let there = Workspace::new()?;
    let name = format!("ipns://{}", published.name);
    there.odfs(["pull", &name, "--as", "t", "--gateway", &kubo.gateway()?])?;
    same_dataset((&here, "t"), (&there, "t"))?;
    let root = format!("ipfs://{}", published.root);
    let third = Workspace::new()?;
    third.odfs(["pull", &root, "--as", "t", "--gateway", &kubo.gateway()?])?;
    same_dataset((&here, "t"), (&third, "t"))
}

#[test]
fn a_thousand_slices_come_in_few_answers_from_each_kind_of_gateway() -> Outcome {
    const SLICES: u64 = 1_000;
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let here = Workspace::new()?;
    let published = here.publish_often("t", SLICES)?;
    let port = free_port()?;
    let certificate = Certificate::of("localhost")?;
    certificate.write(&here.store(), "own")?;
    here.configure(&format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\ntls = \"127.0.0.1:{port}\"\ncertificate = \"own.pem\"\nkey = \"own.key\"\n"
    ))?;
    let node = here.node()?;
    kubo.connect(&node.address)?;
    kubo.wait_for_dht_peer(&node.peer_id, SOON)?;
    kubo.ok(["pin", "add", &published.root])?;
    let by_kubo = PassingOn::to(&kubo.gateway()?, usize::MAX)?;
    let by_odfs = PassingOn::to(&node.gateway, usize::MAX)?;
    let liar = PassingOn::to(&node.gateway, 100)?;
    // Connections are taken by the system, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let silent = format!("http://{}", silent.local_addr()?);
    let encrypted = format!("https://localhost:{port}");
    let address = format!("ipfs://{}", published.root);
    let ways: [&[&str]; 5] = [
        &[&by_kubo.url],
        &[&by_odfs.url],
        &[&encrypted],
        &[&liar.url, &node.gateway],
        &[&silent, &encrypted],
    ];
    for way in ways {
        let there = Workspace::new()?;
        std::fs::create_dir_all(there.store())?;
        std::fs::write(there.store().join("own.pem"), &certificate.pem)?;
        there.odfs(["config", "set", "network.authorities", "own.pem"])?;
        let gateways = way.iter().flat_map(|gateway| ["--gateway", gateway]);
        let pulled = there.odfs(["pull", &address, "--as", "t"].into_iter().chain(gateways))?;
        note(&format!(
            "{SLICES} slices by {way:?}: {:.2} s",
            pulled.took.as_secs_f64()
        ));
        same_dataset((&here, "t"), (&there, "t"))?;
        there.odfs(["verify", "t"])?;
    }
    for gateway in [&by_kubo, &by_odfs] {
        let (blocks, requests) = (gateway.blocks(), gateway.requests());
        assert!(
            blocks as u64 > 2 * SLICES && requests < blocks / 20,
            "{requests} requests for {blocks} blocks"
        );
    }
    Ok(())
}

#[test]
fn false_and_silent_gateways_are_found_out_and_a_peer_stands_in() -> Outcome {
    let here = Workspace::new()?;
    let published = here.publish_often("t", 30)?;
    let node = here.node()?;
    let name = format!("ipns://{}", published.name);
    let liar = PassingOn::to(&node.gateway, 20)?;
    // Connections are taken by the system, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let silent = format!("http://{}", silent.local_addr()?);

    let there = Workspace::new()?;
    let args = [
        "pull",
        &name,
        "--as",
        "t",
        "--gateway",
        &liar.url,
        "--gateway",
        &silent,
        "--peer",
        &node.address,
    ];
    let pulled = there.odfs(args)?;
    same_dataset((&here, "t"), (&there, "t"))?;
    there.odfs(["verify", "t"])?;
    assert!(liar.blocks() >= 20, "the liar was hardly asked");
    assert!(pulled.stderr.contains("gave another block"), "{}", pulled.stderr);

    // A peer stands in for a gateway that never answers, and is then asked first.
    let beside = Workspace::new()?;
    let args = [
        "pull",
        &name,
        "--as",
        "t",
        "--gateway",
        &silent,
        "--peer",
        &node.address,
    ];
    let pulled = beside.odfs(args)?;
    assert!(pulled.took < SOON, "{:?}", pulled.took);
    same_dataset((&here, "t"), (&beside, "t"))?;

    // The liar alone is no way to a dataset, and nothing of it is believed.
    let alone = Workspace::new()?;
    let refused = alone.refused(["pull", &name, "--as", "t", "--gateway", &liar.url])?;
    assert!(refused.stderr.contains("gave another block"), "{}", refused.stderr);
    // Nor is what it gives as a record.
    let forger = PassingOn::to(&node.gateway, 1)?;
    let other = Workspace::new()?;
    let forged = other.refused(["pull", &name, "--as", "t", "--gateway", &forger.url])?;
    assert_eq!(forged.code(), Some(11), "{}", forged.stderr);
    let wrong = alone.refused(["pull", &name, "--as", "t", "--gateway", "ftp://127.0.0.1"])?;
    assert_eq!(wrong.code(), Some(2), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("https://gateway.example"), "{}", wrong.stderr);
    Ok(())
}

#[test]
fn cars_without_an_end_and_cut_ones_cost_little_and_others_stand_in() -> Outcome {
    let here = Workspace::new()?;
    let published = here.publish_often("t", 20)?;
    let node = here.node()?;
    let address = format!("ipfs://{}", published.root);
    let gives: [(&str, Gives); 7] = [
        ("the same again without an end", |to, car| {
            to.write_all(car)?;
            let ends = ends_of_blocks(car);
            loop {
                to.write_all(&car[ends[0]..])?;
            }
        }),
        ("blocks of nothing without an end", |to, car| {
            to.write_all(&car[..ends_of_blocks(car)[0]])?;
            loop {
                to.write_all(&framed(&vec![7; 1 << 20]))?;
            }
        }),
        ("a header without an end", |to, _| {
            endless(to, &[0xff, 0xff, 0xff, 0x7f])
        }),
        ("a block without an end", |to, car| {
            to.write_all(&car[..ends_of_blocks(car)[0]])?;
            endless(to, &[0xff, 0xff, 0xff, 0x7f])
        }),
        ("no CAR", |to, _| endless(to, b"<html>")),
        ("one that is cut", |to, car| to.write_all(&car[..car.len() / 2])),
        ("a byte at a time", |to, car| {
            for byte in car {
                to.write_all(&[*byte])?;
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }),
    ];
    for (what, gives) in gives {
        // Blocks one by one are honest, and come as soon as the CAR is given up.
        let alone = PassingOn::giving(&node.gateway, gives)?;
        for gateways in [&[alone.url.as_str(), node.gateway.as_str()][..], &[alone.url.as_str()]] {
            let there = Workspace::new()?;
            let gateways = gateways.iter().flat_map(|gateway| ["--gateway", gateway]);
            let pulled = there.odfs(["pull", &address, "--as", "t"].into_iter().chain(gateways))?;
            same_dataset((&here, "t"), (&there, "t"))?;
            let mib = pulled.peak_memory >> 20;
            note(&format!("{what}: {:.2} s, {mib} MiB", pulled.took.as_secs_f64()));
            assert!(pulled.took < SOON, "{what}: {:?}", pulled.took);
            assert!(mib < MOST_MIB, "{what}: {mib} MiB");
        }
    }
    Ok(())
}

/// What a gateway gives in place of a CAR: that is there to be made use of.
type Gives = fn(&mut TcpStream, &[u8]) -> std::io::Result<()>;

fn endless(to: &mut TcpStream, begin: &[u8]) -> std::io::Result<()> {
    to.write_all(begin)?;
    loop {
        to.write_all(&[0; 1 << 16])?;
    }
}

/// A raw block as it stands in a CAR.
fn framed(data: &[u8]) -> Vec<u8> {
    let hash = Sha256::digest(data);
    let cid = [&[0x01, 0x55, 0x12, 0x20][..], &hash].concat();
    let mut buffer = unsigned_varint::encode::usize_buffer();
    [
        unsigned_varint::encode::usize(cid.len() + data.len(), &mut buffer),
        &cid,
        data,
    ]
    .concat()
}

/// A gateway that passes requests on to another, and gives one bit otherwise in one of so many blocks; in all, records too, if
/// that is one.
struct PassingOn {
    url: String,
    /// How many blocks it was asked for.
    blocks: Arc<AtomicUsize>,
    /// With how many requests.
    requests: Arc<AtomicUsize>,
}

impl PassingOn {
    /// One that lies in one of so many blocks.
    fn to(behind: &str, every: usize) -> Outcome<Self> {
        Self::open(behind, every, None)
    }

    /// One that is honest but for CARs.
    fn giving(behind: &str, cars: Gives) -> Outcome<Self> {
        Self::open(behind, usize::MAX, Some(cars))
    }

    fn open(behind: &str, every: usize, cars: Option<Gives>) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let (blocks, requests) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let counters = (blocks.clone(), requests.clone());
        let behind = behind.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (behind, (blocks, requests)) = (behind.clone(), counters.clone());
                std::thread::spawn(move || pass_on(&stream, &behind, (every, cars), (&blocks, &requests)));
            }
        });
        Ok(Self { url, blocks, requests })
    }

    fn blocks(&self) -> usize {
        self.blocks.load(Ordering::Relaxed)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn pass_on(
    mut stream: &TcpStream,
    behind: &str,
    (every, cars): (usize, Option<Gives>),
    (blocks, requests): (&AtomicUsize, &AtomicUsize),
) -> Outcome {
    let mut head = BufReader::new(stream.take(1 << 20));
    loop {
        let mut line = String::new();
        head.read_line(&mut line)?;
        let Some(path) = line.split(' ').nth(1).map(str::to_owned) else {
            return Ok(());
        };
        while line.trim_end() != "" {
            line.clear();
            head.read_line(&mut line)?;
        }
        requests.fetch_add(1, Ordering::Relaxed);
        let mut answer = http::get(&format!("{behind}{path}"), &[])?;
        let is_car = path.contains("format=car") && answer.status == 200;
        if let Some(gives) = cars.filter(|_| is_car) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            let _ = gives(&mut stream.try_clone()?, &answer.body);
            return Ok(stream.shutdown(Shutdown::Both)?);
        }
        let ends = match is_car {
            true => ends_of_blocks(&answer.body),
            false => vec![answer.body.len()],
        };
        let is_block = path.starts_with("/ipfs/");
        for end in ends {
            let is_due = is_block && blocks.fetch_add(1, Ordering::Relaxed) % every == every - 1;
            if is_due || every == 1 {
                // Of a record, the last byte is of what is signed.
                answer.body[..end].iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
            }
        }
        let head = format!(
            "HTTP/1.1 {} x\r\nContent-Length: {}\r\n\r\n",
            answer.status,
            answer.body.len()
        );
        stream.write_all(&[head.as_bytes(), &answer.body].concat())?;
    }
}

/// Where the blocks of a CAR end.
fn ends_of_blocks(car: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut rest = car;
    while let Ok((length, after)) = unsigned_varint::decode::usize(rest) {
        let Some(after) = after.get(length..) else { break };
        rest = after;
        ends.push(car.len() - rest.len());
    }
    // The first is the header.
    ends.split_off(1.min(ends.len()))
}
