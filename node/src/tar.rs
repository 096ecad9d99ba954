//! Headers of tar archives.
//!
//! They are those of POSIX (ustar), with a pax header before where a name is not short ASCII or a file is 8 GiB and more.

/// A file.
pub const FILE: u8 = b'0';
/// A symbolic link.
pub const SYMLINK: u8 = b'2';
/// A directory, whose path ends with a slash.
pub const DIRECTORY: u8 = b'5';
/// What ends an archive.
pub const END: [u8; 2 * RECORD] = [0; 2 * RECORD];
const RECORD: usize = 512;
/// The first size that the field of a header cannot hold.
const HUGE: u64 = 1 << 33;

/// Zeros that follow the content of a file of this size.
pub fn padding(size: u64) -> usize {
    usize::try_from(size.wrapping_neg() % RECORD as u64).unwrap_or(0)
}

/// Where an entry of a directory is in the archive, none if that is outside. The root has the one name without a slash.
pub fn joined(directory: &str, name: &str) -> Option<String> {
    let mut segments: Vec<&str> = directory.split('/').collect();
    for segment in name.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
        if segments.is_empty() {
            break;
        }
    }
    let inside = segments.len() > 1 && segments.first() == directory.split('/').next().as_ref();
    (inside && !name.contains('\0')).then(|| segments.join("/"))
}

/// The header of one entry, `kind` being one of the constants here; its content and [`padding`] follow.
pub fn header(path: &str, kind: u8, size: u64, link: &[u8]) -> Vec<u8> {
    let short = |text: &[u8]| text.len() < 100 && text.is_ascii();
    let mut records = Vec::new();
    if !short(path.as_bytes()) {
        record(&mut records, "path", path.as_bytes());
    }
    if !short(link) {
        record(&mut records, "linkpath", link);
    }
    if size >= HUGE {
        record(&mut records, "size", size.to_string().as_bytes());
    }
    let mut bytes = Vec::with_capacity(3 * RECORD);
    if !records.is_empty() {
        bytes.extend_from_slice(&plain(b"PaxHeader", b'x', records.len() as u64, b""));
        bytes.extend_from_slice(&records);
        bytes.resize(bytes.len().next_multiple_of(RECORD), 0);
    }
    bytes.extend_from_slice(&plain(path.as_bytes(), kind, if size < HUGE { size } else { 0 }, link));
    bytes
}

/// `{length} {key}={value}\n`, where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// A header with no room for anything long.
fn plain(path: &[u8], kind: u8, size: u64, link: &[u8]) -> [u8; RECORD] {
    let mut header = [0; RECORD];
    let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
    let mode: &[u8] = if kind == DIRECTORY { b"0000755\0" } else { b"0000644\0" };
    put(0, &path[..path.len().min(99)]);
    put(100, mode);
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &link[..link.len().min(99)]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_archive() {
        let at = |directory: &str, name: &str| joined(directory, name);
        assert_eq!(at("b", "a").as_deref(), Some("b/a"));
        assert_eq!(at("b/c/d", "../file").as_deref(), Some("b/c/file"));
        assert_eq!(at("b", "a//./c").as_deref(), Some("b/a/c"));
        for (directory, name) in [
            ("b", ".."),
            ("b", "../a"),
            ("b", "../../a"),
            ("b/c", "../../b/x/../../a"),
            ("b", "."),
            ("b", "a\0"),
        ] {
            assert_eq!(at(directory, name), None, "{directory} {name}");
        }
    }

    #[test]
    fn long_values_have_a_record_that_counts_itself() {
        for length in [1, 90, 91, 92, 93, 990, 991, 992] {
            let mut records = Vec::new();
            record(&mut records, "path", &vec![b'x'; length]);
            let text = String::from_utf8(records).unwrap();
            let (count, _) = text.split_once(' ').unwrap();
            assert_eq!(count.parse::<usize>().unwrap(), text.len());
        }
        let huge = header("a", FILE, HUGE, b"");
        assert_eq!(huge.len(), 3 * RECORD);
        assert!(String::from_utf8_lossy(&huge).contains("size=8589934592\n"));
    }
}
