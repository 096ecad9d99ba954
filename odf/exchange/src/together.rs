//! Small objects, many in one body: a request for each costs more than its bytes.
//!
//! Between two odfs only. Whoever reads a dataset names the objects that it lacks, one a line, and gets them in one answer;
//! whoever pushes sends many in one request (see `docs/formats.md`). Each is checked by itself, and is here as soon as it is
//! complete, whatever becomes of the rest of the body. What does not come so is asked for one by one.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::vec;

use odf_dataset::receive::{Arrival, Listener, ReceiveError};
use odf_dataset::{Object, ObjectKind};
use odf_metadata::Multihash;

/// Where a server gives and takes them, below a dataset.
pub(crate) const OBJECTS_FILE: &str = "objects";
/// What a body of them is. A server that answers with something else has not understood.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.odf.objects";
/// The most objects in one body.
pub(crate) const MAX_TOGETHER: usize = 256;
/// The longest list of names: the name of an object has 81 characters.
pub(crate) const MAX_LIST_BYTES: usize = 64 << 10;
/// As many bytes go together. More come as fast side by side, and less is lost where a connection breaks.
const TOGETHER_BYTES: u64 = 4 << 20;
/// The longest object that goes together with others.
const SMALL_BYTES: u64 = 64 << 10;
/// Fewer are not worth the question whether a server knows of this.
const FEWEST: usize = 16;
/// How much of the files is read at a time.
const PIECE_BYTES: usize = 128 << 10;

/// What a request calls an object.
pub(crate) type Name = (ObjectKind, Multihash);

fn name_of(text: &str) -> Option<Name> {
    let (directory, hash) = text.split_once('/')?;
    let kind = ObjectKind::ALL.into_iter().find(|kind| kind.directory() == directory)?;
    Some((kind, hash.parse().ok()?))
}

/// The objects that go together, in bodies: the small ones, if they are many.
pub(crate) fn bodies(objects: &[Object]) -> Vec<Vec<Object>> {
    let small = || objects.iter().filter(|object| object.size <= SMALL_BYTES);
    if small().nth(FEWEST - 1).is_none() {
        return Vec::new();
    }
    let mut bodies: Vec<Vec<Object>> = Vec::new();
    let mut room = 0;
    for object in small() {
        match bodies.last_mut() {
            Some(body) if body.len() < MAX_TOGETHER && object.size <= room => {
                room -= object.size;
                body.push(*object);
            }
            _ => {
                room = TOGETHER_BYTES - object.size;
                bodies.push(vec![*object]);
            }
        }
    }
    bodies
}

/// The names of objects, one a line.
pub(crate) fn list(objects: &[Object]) -> String {
    objects.iter().map(|object| format!("{object}\n")).collect()
}

/// The names in a list; nothing if it is none, or a longer one than is answered.
pub(crate) fn listed(list: &[u8]) -> Option<Vec<Name>> {
    let lines = std::str::from_utf8(list).ok()?.lines();
    let names: Vec<Name> = lines.take(MAX_TOGETHER + 1).map(name_of).collect::<Option<_>>()?;
    (names.len() <= MAX_TOGETHER).then_some(names)
}

/// How many bytes of a body an object takes up.
pub(crate) fn length_of(object: &Object) -> u64 {
    1 + object.to_string().len() as u64 + 8 + object.size
}

/// A body of objects that are in the directory of a dataset, read as it is sent. Those that are not there are not in it.
pub(crate) struct Body {
    dir: PathBuf,
    rest: vec::IntoIter<Name>,
    /// The file that is being read, and how much of it is to come.
    open: Option<(File, u64)>,
    /// What was read and not yet given, for those who read it as a stream.
    ready: io::Cursor<Vec<u8>>,
}

impl Body {
    /// The objects of these names in the dataset in `dir`.
    pub(crate) fn new(dir: &Path, names: Vec<Name>) -> Self {
        Self {
            dir: dir.to_owned(),
            rest: names.into_iter(),
            open: None,
            ready: io::Cursor::default(),
        }
    }

    /// The next bytes of it; none at its end.
    ///
    /// # Errors
    /// A file cannot be read, or has become shorter.
    pub(crate) fn piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::new();
        while piece.len() < PIECE_BYTES {
            let Some((file, left)) = &mut self.open else {
                match self.rest.next() {
                    Some(name) => self.begin(&name, &mut piece)?,
                    None => break,
                }
                continue;
            };
            let room = (PIECE_BYTES - piece.len()) as u64;
            let read = file.take(room.min(*left)).read_to_end(&mut piece)?;
            match left.checked_sub(read as u64) {
                Some(0) => self.open = None,
                Some(less) if read > 0 => *left = less,
                _ => return Err(ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(piece)
    }

    /// Begins with the next object, if it is there.
    fn begin(&mut self, (kind, hash): &Name, piece: &mut Vec<u8>) -> io::Result<()> {
        let name = format!("{}/{hash}", kind.directory());
        let file = match File::open(self.dir.join(&name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let found = file.metadata()?;
        let Some(length) = u8::try_from(name.len()).ok().filter(|_| found.is_file()) else {
            return Ok(());
        };
        piece.push(length);
        piece.extend_from_slice(name.as_bytes());
        piece.extend_from_slice(&found.len().to_le_bytes());
        self.open = Some((file, found.len())).filter(|(_, left)| *left > 0);
        Ok(())
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.ready.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        self.ready = io::Cursor::new(self.piece()?);
        self.ready.read(buffer)
    }
}

/// Why no more of a body was taken. What was complete before is here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// It is no such body, or brings what was not asked for.
    #[error("{0}")]
    Malformed(String),
    /// It ended early.
    #[error("it broke off: {0}")]
    Broken(#[from] io::Error),
    /// An object is not what it should be, or finds no place.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
}

/// Takes the objects of a body to where they belong: those that are `wanted`, which knows their lengths. `arrived` hears of
/// each that is complete.
///
/// # Errors
/// See [`TakeError`]. A body of more than [`MAX_TOGETHER`] objects is malformed.
pub(crate) fn take(
    body: impl Read,
    arrival: &Arrival,
    wanted: &dyn Fn(&Name) -> Option<Object>,
    arrived: &mut dyn FnMut(Object),
    listener: &Listener<'_>,
) -> Result<(), TakeError> {
    let mut body = BufReader::with_capacity(PIECE_BYTES, body);
    let mut left = MAX_TOGETHER;
    while let Some((name, size)) = next_name(&mut body)? {
        if left == 0 {
            return Err(TakeError::Malformed(format!(
                "there are more than {MAX_TOGETHER} objects in it"
            )));
        }
        left -= 1;
        let object = name_of(&name).and_then(|name| wanted(&name));
        let Some(object) = object.filter(|object| object.size == size) else {
            return Err(TakeError::Malformed(format!(
                "nobody waits for {name} with {size} bytes"
            )));
        };
        let mut sink = arrival.sink(&object)?;
        let mut bytes = body.by_ref().take(size);
        sink.fill(&mut bytes, listener)?;
        if bytes.limit() > 0 {
            return Err(TakeError::Broken(ErrorKind::UnexpectedEof.into()));
        }
        sink.finish()?;
        arrived(object);
    }
    Ok(())
}

/// What comes next in a body, and how long it is; nothing at its end.
fn next_name(body: &mut impl Read) -> Result<Option<(String, u64)>, TakeError> {
    let mut length = [0];
    match body.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let mut name = vec![0; usize::from(length[0])];
    body.read_exact(&mut name)?;
    let name =
        String::from_utf8(name).map_err(|_| TakeError::Malformed("the name of an object is no text".to_owned()))?;
    let mut size = [0; 8];
    body.read_exact(&mut size)?;
    Ok(Some((name, u64::from_le_bytes(size))))
}

#[cfg(test)]
mod tests;
