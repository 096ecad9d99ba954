use tokio::task::JoinSet;

use super::*;

#[tokio::test]
async fn a_peer_that_was_named_is_dialled_again_when_it_is_back() {
    let key = Keypair::generate_ed25519();
    let (a, b) = (start().await, quiet().keypair(key.clone()).start().await.unwrap());
    a.dial(address(&b)).await.unwrap();
    let listen = vec![crate::address::split_peer(address(&b)).0];
    b.shutdown().await;
    until("the loss", async || a.peers().await.is_empty()).await;
    let again = quiet().keypair(key).listen(listen).start().await.unwrap();
    until("the dial", async || {
        a.peers()
            .await
            .iter()
            .any(|peer| peer.dialled_by_us && peer.peer == again.peer_id())
    })
    .await;
}

#[tokio::test]
async fn however_many_wait_for_a_dial_each_is_told_how_it_ended() {
    let a = start().await;
    // Takes the connection, and says nothing for a while.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        let taken = listener.accept().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(taken);
    });
    let there: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", at.port(), libp2p::PeerId::random())
        .parse()
        .unwrap();
    let mut dials = JoinSet::new();
    for _ in 0..100 {
        let (a, there) = (a.clone(), there.clone());
        dials.spawn(async move { a.dial(there).await });
    }
    while let Some(dialled) = dials.join_next().await {
        let error = dialled.unwrap().unwrap_err();
        assert!(matches!(error, DialError::Unreachable { .. }), "{error}");
    }
    silent.await.unwrap();
}

#[tokio::test]
async fn a_port_that_others_have_in_use_is_no_reason_not_to_dial() {
    let (a, b) = (start().await, start().await);
    let port = address(&a).iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    // Whoever dials from the port on every address meets this one.
    let _other = std::net::TcpListener::bind(("127.0.0.3", port.unwrap())).unwrap();
    a.dial(address(&b)).await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_dead_or_somebody_elses_holds_up_nothing() {
    let (a, b, other) = (start().await, start().await, start().await);
    // Takes connections, and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |port: u16| -> Multiaddr { format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap() };
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let plain = |node: &Node| crate::address::split_peer(address(node)).0;
    let addresses = vec![
        at(mute.local_addr().unwrap().port()),
        at(closed),
        plain(&other),
        plain(&a),
        plain(&b),
    ];
    let started = Instant::now();
    assert_eq!(a.dial_any(b.peer_id(), addresses).await.unwrap(), b.peer_id());
    assert!(started.elapsed() < NO_TIMER, "{:?}", started.elapsed());

    let wrong = a
        .dial_any(libp2p::PeerId::random(), vec![plain(&other), at(closed)])
        .await;
    assert!(wrong.is_err());
    let myself = a.dial_any(a.peer_id(), vec![plain(&a)]).await;
    assert!(matches!(myself, Err(DialError::Myself)));
    let nowhere = a.dial_any(libp2p::PeerId::random(), Vec::new()).await;
    assert!(matches!(nowhere, Err(DialError::NoAddresses)));
}

#[tokio::test]
async fn who_is_refused_is_neither_dialled_nor_let_in_and_all_others_are() {
    let unwanted = start().await;
    let refused = unwanted.peer_id();
    let here = quiet().refuse(move |peer| *peer == refused).start().await.unwrap();
    let dialled = here.dial(address(&unwanted)).await;
    assert!(dialled.is_err(), "{dialled:?}");
    // The other side may have taken the connection for made before it was ended.
    let _ = unwanted.dial(address(&here)).await;
    until("the end of the connection", async || unwanted.peers().await.is_empty()).await;
    assert!(here.peers().await.is_empty());
    start().await.dial(address(&here)).await.unwrap();
    here.dial(address(&start().await)).await.unwrap();
}
