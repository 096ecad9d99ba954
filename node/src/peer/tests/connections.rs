use tokio::task::JoinSet;

use super::*;

/// A peer that dials from the address it listens on.
async fn start_at(ip: &str) -> Node {
    let listen = vec![format!("/ip4/{ip}/tcp/0").parse().unwrap()];
    quiet().listen(listen).start().await.unwrap()
}

#[tokio::test]
async fn a_crowd_of_one_address_makes_room_for_a_peer_of_another() {
    // Six from outside.
    let full = quiet().max_connections(8).start().await.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..6 {
        let one = start().await;
        one.dial(address(&full)).await.unwrap();
        crowd.push(one);
    }
    let one_more = start().await;
    assert!(one_more.dial(address(&full)).await.is_err(), "the crowd is full");
    let other = start_at("127.0.0.2").await;
    other.dial(address(&full)).await.unwrap();
    until("somebody of the crowd to go", async || full.peers().await.len() == 6).await;
    assert!(full.peers().await.iter().any(|peer| peer.peer == other.peer_id()));
}

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
    // Who was told to go is not.
    assert!(a.disconnect(again.peer_id()).await);
    until("the end", async || a.peers().await.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(a.peers().await.is_empty());
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
