//! Clients that prove who they are.

use wharf_server::{ClientAuth, Config};

use super::certificates::{Authority, Caller, Files, TLS12, TLS13};
use super::{config, setup};

/// Each in both versions: in TLS 1.3 the client is done before the server has looked.
#[tokio::test]
async fn who_is_not_vouched_for_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let files = Files::of(&authority.sign(1, 2100));
    let (known, unknown) = (authority.sign(2, 2100), stranger.sign(2, 2100));
    let expired = authority.sign(3, 2001);
    for (client_auth, without) in [
        (ClientAuth::Required, None),
        (ClientAuth::Optional, Some(200)),
    ] {
        let server = setup(Config {
            tls: Some(files.asking(&authority, client_auth)),
            ..config()
        })
        .start()
        .await;
        for versions in [TLS12, TLS13] {
            let mut caller = authority.client();
            caller.versions = versions;
            let said = async |caller: Caller| caller.infer(server.address).await;
            assert_eq!(said(caller.clone().with(&known)).await, Some(200));
            assert_eq!(said(caller.clone()).await, without, "{client_auth:?}");
            assert_eq!(said(caller.clone().with(&unknown)).await, None);
            assert_eq!(said(caller.with(&expired)).await, None);
        }
    }
}
