use odf_node::keystore::Keypair;
use proptest::prelude::*;

use super::*;

fn name() -> Address {
    Address::Name(Name::from_public_key(&Keypair::generate_ed25519().public()))
}

fn root() -> Address {
    "ipfs://bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu"
        .parse()
        .unwrap()
}

fn contact_with(addresses: usize) -> Contact {
    Contact {
        peer: PeerId::random(),
        addresses: (0..addresses)
            .map(|port| format!("/ip4/192.0.2.7/udp/{}/quic-v1", 4001 + port).parse().unwrap())
            .collect(),
    }
}

/// The ticket with this content, whatever it is.
fn sealed(body: &[u8]) -> String {
    let mut bytes = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(body);
    bytes.extend(checksum(&bytes));
    format!("odfs1{}", base32(&bytes))
}

fn read(text: &str) -> Result<Ticket, TicketError> {
    text.parse()
}

#[test]
fn a_ticket_is_read_as_it_was_made_in_either_case() {
    let label: DatasetName = "ca.weather-2024".parse().unwrap();
    for address in [name(), root()] {
        for (label, contacts) in [
            (None, vec![]),
            (Some(&label), vec![contact_with(1)]),
            (Some(&label), vec![contact_with(0), contact_with(MAX_PEER_ADDRESSES)]),
        ] {
            let ticket = Ticket::new(&address, label, contacts).unwrap();
            let text = ticket.to_string();
            assert!(
                text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
                "{text}"
            );
            assert_eq!(read(&text).unwrap(), ticket);
            assert_eq!(read(&text.to_uppercase()).unwrap(), ticket);
            assert_eq!(read(&text).unwrap().to_string(), text);
        }
    }
}

#[test]
fn names_of_every_kind_of_key_fit() {
    // Those of RSA are hashes too, as of ECDSA.
    for key in [
        Keypair::generate_ed25519(),
        Keypair::generate_secp256k1(),
        Keypair::generate_ecdsa(),
    ] {
        let address = Address::Name(Name::from_public_key(&key.public()));
        let contact = Contact {
            peer: key.public().to_peer_id(),
            ..contact_with(1)
        };
        let ticket = Ticket::new(&address, None, vec![contact]).unwrap();
        let again = read(&ticket.to_string()).unwrap();
        assert_eq!((again.address(), &again), (&address, &ticket), "{:?}", key.key_type());
    }
}

#[test]
fn the_text_stays_what_it_is() {
    // Tickets are on paper and in mails: this one must be read by every later version.
    let address = "k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8";
    let contact = Contact {
        peer: "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp".parse().unwrap(),
        addresses: vec!["/ip4/192.0.2.7/tcp/4001".parse().unwrap()],
    };
    let label = "weather".parse().unwrap();
    let ticket = Ticket::new(&address.parse().unwrap(), Some(&label), vec![contact]).unwrap();
    assert_eq!(ticket.to_string(), WRITTEN);
    assert_eq!(read(WRITTEN).unwrap(), ticket);
}

const WRITTEN: &str = "odfs1absqcjqaeqeacera4ruawl4mruqqsdtkumt7dozufk4opwjdr4pdlay2ktlkr5ojcesacaaho5swc5dimvzae\
                       abqeyacicabciqeznnl62wxt67vvo6mv7gcnhmfzutfd3klrbnvq2psigxn6cs3ukiiataaaaqhayh2cd6hctcq";

#[test]
fn what_is_wrong_is_told_apart() {
    let text = Ticket::new(&name(), None, vec![contact_with(2)]).unwrap().to_string();
    for end in LOOKS_LIKE_ONE..text.len() {
        let missing = text.len() - end;
        assert_eq!(read(&text[..end]), Err(TicketError::Cut { missing }), "{end}");
    }
    assert_eq!(read(&text[..LOOKS_LIKE_ONE - 1]), Err(TicketError::NotOne));
    for more in ["a", "aaaaaaaa"] {
        assert_eq!(read(&format!("{text}{more}")), Err(TicketError::Mistyped));
    }
    // Each letter, and each two that change places, behind the length.
    for at in 10..text.len() {
        let mut slip = text.clone().into_bytes();
        slip[at] = if slip[at] == b'q' { b'x' } else { b'q' };
        assert_eq!(
            read(std::str::from_utf8(&slip).unwrap()),
            Err(TicketError::Mistyped),
            "{at}"
        );
        let mut swapped = text.clone().into_bytes();
        swapped.swap(at - 1, at);
        let swapped = String::from_utf8(swapped).unwrap();
        assert!(swapped == text || read(&swapped).is_err(), "{at}");
    }
    let place = 20;
    let strange = format!("{}!{}", &text[..place - 1], &text[place..]);
    assert_eq!(
        read(&strange),
        Err(TicketError::WrongCharacter { character: '!', place })
    );
    assert_eq!(read(&text.replacen("odfs1", "odfs2", 1)), Err(TicketError::Later('2')));
    for no in [
        "",
        "odfs",
        "odfs1",
        "odfs-weather-2024",
        "odfs1/weather.2024",
        "k51qzi5uqu5dlvj2",
        "éééééééééééé",
    ] {
        assert_eq!(read(no), Err(TicketError::NotOne), "{no}");
    }
}

#[test]
fn what_later_versions_add_is_passed_over_or_refused_in_words() {
    let ticket = Ticket::new(&name(), None, vec![contact_with(1)]).unwrap();
    let mut body = ticket.body();
    put_field(&mut body, 200, b"whatever this will be");
    assert_eq!(read(&sealed(&body)).unwrap(), ticket);
    // Protocol 0x3fff of multiaddr is nobody's.
    let mut field = Vec::new();
    put_short(&mut field, &ticket.contacts()[0].peer.to_bytes());
    put_short(&mut field, &[0xff, 0x7f, 1, 2, 3]);
    put_short(&mut field, ticket.contacts()[0].addresses[0].as_ref());
    assert_eq!(contact(&field).unwrap(), ticket.contacts()[0]);
    let mut other = ticket.body();
    other[0] = 9;
    assert_eq!(read(&sealed(&other)), Err(TicketError::OtherKind(9)));
    for body in [
        &[][..],
        &[KIND_NAME],
        &[KIND_NAME, 3, 1, 2, 3],
        &[KIND_ROOT, 0],
        &[KIND_NAME, 40, 1],
    ] {
        assert!(
            matches!(read(&sealed(body)), Err(TicketError::Malformed(_))),
            "{body:?}"
        );
    }
    let mut cut_field = ticket.body();
    cut_field.extend([TAG_LABEL, 0, 9, b'x']);
    assert!(matches!(read(&sealed(&cut_field)), Err(TicketError::Malformed(_))));
    let mut bad_name = ticket.body();
    put_field(&mut bad_name, TAG_LABEL, b"../etc");
    assert!(matches!(read(&sealed(&bad_name)), Err(TicketError::Malformed(_))));
}

#[test]
fn each_limit_holds_on_both_sides() {
    let too_much = |result: Result<Ticket, TicketError>, wanted: usize| match result {
        Err(TicketError::TooMuch { limit, .. }) => assert_eq!(limit, wanted),
        other => panic!("{other:?}"),
    };
    let peers = |count: usize| (0..count).map(|_| contact_with(1)).collect::<Vec<_>>();
    assert!(Ticket::new(&name(), None, peers(MAX_PEERS)).is_ok());
    too_much(Ticket::new(&name(), None, peers(MAX_PEERS + 1)), MAX_PEERS);
    assert!(Ticket::new(&name(), None, vec![contact_with(MAX_PEER_ADDRESSES)]).is_ok());
    let crowded = contact_with(MAX_PEER_ADDRESSES + 1);
    too_much(Ticket::new(&name(), None, vec![crowded.clone()]), MAX_PEER_ADDRESSES);
    // `/dns/` has two bytes before its name.
    let host = |bytes: usize| Contact {
        addresses: vec![format!("/dns/{}", "x".repeat(bytes - 2)).parse().unwrap()],
        ..contact_with(0)
    };
    assert!(Ticket::new(&name(), None, vec![host(MAX_ADDRESS_BYTES)]).is_ok());
    too_much(
        Ticket::new(&name(), None, vec![host(MAX_ADDRESS_BYTES + 1)]),
        MAX_ADDRESS_BYTES,
    );

    // A longer name is left out, and refused where another program put it in.
    let label = |bytes: usize| "x".repeat(bytes).parse::<DatasetName>().unwrap();
    let labelled = |bytes: usize| Ticket::new(&name(), Some(&label(bytes)), vec![]).unwrap();
    assert_eq!(labelled(MAX_LABEL_BYTES).label(), Some(&label(MAX_LABEL_BYTES)));
    assert_eq!(labelled(MAX_LABEL_BYTES + 1).label(), None);

    let body = Ticket::new(&name(), None, vec![]).unwrap().body();
    let with = |tag: u8, fields: Vec<Vec<u8>>| {
        let mut body = body.clone();
        fields.iter().for_each(|field| put_field(&mut body, tag, field));
        read(&sealed(&body))
    };
    let field = |contact: &Contact| {
        let mut field = Vec::new();
        put_short(&mut field, &contact.peer.to_bytes());
        contact
            .addresses
            .iter()
            .for_each(|address| put_short(&mut field, address.as_ref()));
        field
    };
    too_much(with(TAG_LABEL, vec![vec![b'x'; MAX_LABEL_BYTES + 1]]), MAX_LABEL_BYTES);
    too_much(
        with(TAG_PEER, peers(MAX_PEERS + 1).iter().map(field).collect()),
        MAX_PEERS,
    );
    too_much(with(TAG_PEER, vec![field(&crowded)]), MAX_PEER_ADDRESSES);
    too_much(
        with(TAG_PEER, vec![field(&host(MAX_ADDRESS_BYTES + 1))]),
        MAX_ADDRESS_BYTES,
    );

    // As much as goes in makes the longest text; one byte more is refused unread.
    let filled = |total: usize| {
        let mut body = body.clone();
        let room = total - body.len() - 3;
        put_field(&mut body, 99, &vec![7; room]);
        sealed(&body)
    };
    let longest = filled(MAX_BODY_BYTES);
    assert_eq!(longest.len(), MAX_TICKET_CHARS);
    assert!(read(&longest).is_ok());
    too_much(read(&filled(MAX_BODY_BYTES + 1)), MAX_TICKET_CHARS);
    let boast = format!("odfs1{}", base32(&[0xff; 60]));
    assert_eq!(read(&boast), Err(TicketError::Mistyped));
    let full: Vec<Contact> = (0..MAX_PEERS)
        .map(|_| Contact {
            addresses: vec![host(MAX_ADDRESS_BYTES).addresses[0].clone(); MAX_PEER_ADDRESSES],
            ..contact_with(0)
        })
        .collect();
    too_much(Ticket::new(&name(), None, full), MAX_BODY_BYTES);
}

#[test]
fn a_path_below_a_root_has_no_ticket() {
    let address = format!("{}/a", root()).parse().unwrap();
    assert!(Ticket::new(&address, None, vec![]).is_err());
}

proptest! {
    #[test]
    fn base_32_is_read_as_it_was_written(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let digits: Vec<u8> = base32(&bytes)
            .bytes()
            .map(|letter| u8::try_from(ALPHABET.iter().position(|known| *known == letter).unwrap()).unwrap())
            .collect();
        prop_assert_eq!(from_base32(&digits), (bytes, 0));
    }

    #[test]
    fn no_text_does_harm(text in "[oO]dfs1[a-zA-Z2-7]{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn no_content_does_harm(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(ticket) = read(&sealed(&body)) {
            prop_assert_eq!(read(&ticket.to_string()), Ok(ticket));
        }
    }

    #[test]
    fn no_field_does_harm(fields in prop::collection::vec((0u8..4, prop::collection::vec(any::<u8>(), 0..60)), 0..8)) {
        let mut body = Ticket::new(&root(), None, vec![]).unwrap().body();
        fields.iter().for_each(|(tag, field)| put_field(&mut body, *tag, field));
        if let Ok(ticket) = read(&sealed(&body)) {
            prop_assert_eq!(read(&ticket.to_string()), Ok(ticket));
        }
    }
}
