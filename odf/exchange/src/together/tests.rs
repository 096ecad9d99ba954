use std::fs;
use std::ops::ControlFlow;

use tempfile::TempDir;

use super::*;
use crate::smart::sample;
use odf_dataset::RemoteAliases;

const QUIET: &Listener<'_> = &|_| ControlFlow::Continue(());

fn object(number: usize, bytes: &[u8]) -> Object {
    Object {
        kind: ObjectKind::ALL[number % 2],
        hash: Multihash::sha3_256(bytes),
        size: bytes.len() as u64,
    }
}

/// A directory with objects as long as is said.
fn directory(sizes: &[usize]) -> (TempDir, Vec<Object>) {
    let dir = tempfile::tempdir().unwrap();
    for kind in ObjectKind::ALL {
        fs::create_dir(dir.path().join(kind.directory())).unwrap();
    }
    let objects = sizes.iter().enumerate().map(|(number, size)| {
        let bytes: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(*size).collect();
        let object = object(number, &bytes);
        fs::write(object.path(dir.path()), bytes).unwrap();
        object
    });
    let objects = objects.collect();
    (dir, objects)
}

fn names(objects: &[Object]) -> Vec<Name> {
    objects.iter().map(|object| (object.kind, object.hash)).collect()
}

fn sent(dir: &Path, objects: &[Object]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Body::new(dir, names(objects)).read_to_end(&mut bytes).unwrap();
    bytes
}

fn arrival(dir: &TempDir) -> Arrival {
    let datasets = crate::datasets_in(dir.path());
    Arrival::begin(
        &datasets,
        sample::id(1),
        &"ds".parse().unwrap(),
        RemoteAliases::default(),
    )
    .unwrap()
}

/// Takes a body that should be of these objects; those that came, and how it ended.
fn taken(arrival: &Arrival, body: &[u8], objects: &[Object]) -> (Vec<Object>, Result<(), TakeError>) {
    let wanted = |name: &Name| {
        objects
            .iter()
            .find(|object| (object.kind, object.hash) == *name)
            .copied()
    };
    let mut came = Vec::new();
    let ended = take(body, arrival, &wanted, &mut |object| came.push(object), QUIET);
    (came, ended)
}

#[test]
fn what_is_sent_together_arrives_and_what_is_not_there_is_not_in_it() {
    // Empty, short, over several pieces, and one that ends where a piece does.
    let (dir, objects) = directory(&[8, 1, 3 * PIECE_BYTES + 5, PIECE_BYTES, 1000]);
    let body = sent(dir.path(), &objects);
    assert_eq!(body.len() as u64, objects.iter().map(length_of).sum::<u64>());
    let here = tempfile::tempdir().unwrap();
    let arrival = arrival(&here);
    let (came, ended) = taken(&arrival, &body, &objects);
    ended.unwrap();
    assert_eq!(came, objects);
    arrival.settle().unwrap();
    for object in &objects {
        let bytes = fs::read(object.path(arrival.dir())).unwrap();
        assert_eq!(bytes, fs::read(object.path(dir.path())).unwrap());
    }
    let missing = object(0, b"nowhere");
    let some = [objects[0], missing, objects[1]];
    assert_eq!(sent(dir.path(), &some), sent(dir.path(), &objects[..2]));
    fs::remove_file(objects[0].path(dir.path())).unwrap();
    fs::create_dir(objects[0].path(dir.path())).unwrap();
    assert_eq!(sent(dir.path(), &some), sent(dir.path(), &objects[1..2]));
}

#[test]
fn a_body_that_breaks_off_leaves_what_was_complete_before() {
    let (dir, objects) = directory(&[20, 30, 40]);
    let body = sent(dir.path(), &objects);
    let here = tempfile::tempdir().unwrap();
    let arrival = arrival(&here);
    for length in 0..body.len() {
        let mut whole = 0;
        let mut rest = length as u64;
        for object in &objects {
            match rest.checked_sub(length_of(object)) {
                Some(left) => (rest, whole) = (left, whole + 1),
                None => break,
            }
        }
        let (came, ended) = taken(&arrival, &body[..length], &objects);
        assert_eq!(came, objects[..whole], "{length}");
        match ended {
            Ok(()) => assert_eq!(rest, 0, "{length}"),
            Err(TakeError::Broken(_)) => assert!(rest > 0, "{length}"),
            Err(error) => panic!("{length}: {error}"),
        }
    }
}

#[test]
fn what_is_not_waited_for_is_not_taken() {
    let (dir, objects) = directory(&[20, 30]);
    let here = tempfile::tempdir().unwrap();
    let arrival = arrival(&here);
    let body = sent(dir.path(), &objects);
    // Another object, and one of another length.
    let longer = Object {
        size: objects[1].size + 1,
        ..objects[1]
    };
    for waits in [vec![objects[0]], vec![objects[0], longer]] {
        let (came, ended) = taken(&arrival, &body, &waits);
        assert_eq!(came, objects[..1]);
        assert!(matches!(ended, Err(TakeError::Malformed(_))), "{ended:?}");
    }
    // Other bytes under a name.
    let mut wrong = body.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let (came, ended) = taken(&arrival, &wrong, &objects);
    assert_eq!(came, objects[..1]);
    assert!(
        matches!(ended, Err(TakeError::Receive(ReceiveError::Object { .. }))),
        "{ended:?}"
    );
    // Names that are none.
    for name in [&b""[..], b"data", b"data/x", b"refs/head", b"data/../../x", b"\xff"] {
        let length = u8::try_from(name.len()).unwrap();
        let body = [&[length][..], name, &[0; 8]].concat();
        let (_, ended) = taken(&arrival, &body, &objects);
        assert!(matches!(ended, Err(TakeError::Malformed(_))), "{ended:?}");
    }
    assert!(!arrival.has(&objects[1]));
}

#[test]
fn one_object_too_many_is_not_taken_nor_given() {
    let (dir, objects) = directory(&[9; MAX_TOGETHER + 1]);
    let here = tempfile::tempdir().unwrap();
    let arrival = arrival(&here);
    let most = &objects[..MAX_TOGETHER];
    for (objects, fits) in [(most, true), (&objects[..], false)] {
        let (came, ended) = taken(&arrival, &sent(dir.path(), objects), objects);
        assert_eq!((came.len(), ended.is_ok()), (MAX_TOGETHER, fits));
        let list = list(objects);
        assert!(list.len() < MAX_LIST_BYTES);
        assert_eq!(
            listed(list.as_bytes()).map(|names| names.len()),
            fits.then_some(MAX_TOGETHER)
        );
    }
    assert_eq!(listed(b""), Some(Vec::new()));
    for bad in [&b"\xff"[..], b"data/x", b"x/y\n"] {
        assert_eq!(listed(bad), None);
    }
}

#[test]
fn small_objects_go_together_if_they_are_many() {
    let of = |size: u64, count: usize| -> Vec<Object> {
        let sized = |number: usize| Object {
            size,
            ..object(0, &number.to_le_bytes())
        };
        (0..count).map(sized).collect()
    };
    let lengths = |objects: &[Object]| -> Vec<usize> { bodies(objects).iter().map(Vec::len).collect() };
    assert!(lengths(&of(1, FEWEST - 1)).is_empty());
    assert_eq!(lengths(&of(1, FEWEST)), [FEWEST]);
    assert_eq!(lengths(&of(1, MAX_TOGETHER)), [MAX_TOGETHER]);
    assert_eq!(lengths(&of(1, MAX_TOGETHER + 1)), [MAX_TOGETHER, 1]);
    let full = usize::try_from(TOGETHER_BYTES / SMALL_BYTES).unwrap();
    assert_eq!(lengths(&of(SMALL_BYTES, full + 1)), [full, 1]);
    assert!(lengths(&of(SMALL_BYTES + 1, 100)).is_empty());
    // The large ones among them stay out.
    let mixed = [of(SMALL_BYTES + 1, 5), of(1, FEWEST)].concat();
    assert_eq!(bodies(&mixed), [of(1, FEWEST)]);
}
