//! Whether this machine may be switched off: what becomes of the names that are published from here, in a sentence.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use odf_node::ipns::NameStatus;

/// Says until when others find the names that are published here without this machine, and what to do where they do not.
/// Nothing if none is published here.
pub(super) fn sentence(names: &[NameStatus], now: SystemTime) -> Option<String> {
    let own: Vec<&NameStatus> = names.iter().filter(|name| name.own).collect();
    let until = |name: &&NameStatus| name.safe_until.filter(|until| *until > now);
    let unsafe_ones = own.iter().filter(|name| until(name).is_none()).count();
    match (own.len(), unsafe_ones) {
        (0, _) => None,
        (all, 0) => {
            let until = own.iter().filter_map(until).min().unwrap_or(now);
            Some(format!(
                "This machine may be off: others keep {} findable until {} UTC, and who has pulled the \
                 rows serves them. Have `odfs node` run again before then.",
                match all {
                    1 => "its published name".to_owned(),
                    all => format!("its {all} published names"),
                },
                DateTime::<Utc>::from(until).format("%Y-%m-%d %H:%M")
            ))
        }
        (all, left) => Some(format!(
            "Not safe to switch off: nobody else keeps {}, so nobody finds it while this machine is off. Keep `odfs node` \
             running, connected to others (`--peer`, or a network with peers), until `odfs status` says that it is safe.",
            match (all, left) {
                (1, _) => "the published name".to_owned(),
                (all, left) => format!("{left} of {all} published names"),
            },
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn status(own: bool, safe_until: Option<SystemTime>) -> NameStatus {
        let key = odf_node::keystore::Keypair::generate_ed25519();
        NameStatus {
            name: odf_node::ipns::Name::from_public_key(&key.public()),
            value: None,
            sequence: None,
            valid_until: None,
            safe_until,
            last_put: None,
            holders: 0,
            confirmed: None,
            own,
            followed: !own,
            withdrawn: false,
        }
    }

    #[test]
    fn the_name_that_is_lost_first_decides() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let hours = |hours: u64| Some(now + Duration::from_secs(hours * 3600));
        assert_eq!(sentence(&[status(false, None)], now), None);
        let safe = sentence(
            &[status(true, hours(40)), status(true, hours(30)), status(false, None)],
            now,
        )
        .unwrap();
        assert!(
            safe.starts_with(
                "This machine may be off: others keep its 2 published names findable until 2027-01-16 14:00 UTC,"
            ),
            "{safe}"
        );
        let unsafe_one = sentence(&[status(true, hours(40)), status(true, None)], now).unwrap();
        assert!(
            unsafe_one.starts_with("Not safe to switch off: nobody else keeps 1 of 2 published names"),
            "{unsafe_one}"
        );
        // What was remembered until just now is forgotten.
        assert!(
            sentence(&[status(true, Some(now))], now)
                .unwrap()
                .starts_with("Not safe")
        );
    }
}
