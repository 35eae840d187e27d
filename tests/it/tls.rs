//! TLS to both servers, ended in front of them by a certificate that only our own authority vouches for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use stepup::broker::{self, Broker, topology};
use stepup::fault::{Dependency, Fault};
use stepup::store::{self, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::support::setting;

const CERTIFICATE: &[u8] = include_bytes!("../../src/gateway/loopback/server.pem");
const KEY: &[u8] = include_bytes!("../../src/gateway/loopback/server.key");
/// How a client of PostgreSQL asks for TLS, and that it may.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const WILLING: &[u8] = b"S";

fn authority() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../src/gateway/loopback/ca.pem").into()
}

/// `url` by way of a port that speaks TLS, and asks `ask` first.
async fn by_tls(url: &str, ask: Option<[u8; 8]>) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let acceptor =
        TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()));
    let (credentials, rest) = url.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = listener.local_addr().unwrap();
    let far = address.to_owned();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (acceptor, far) = (acceptor.clone(), far.clone());
            tokio::spawn(async move {
                if let Some(ask) = ask {
                    let mut asked = [0; 8];
                    client.read_exact(&mut asked).await?;
                    assert_eq!(asked, ask, "TLS is not asked for");
                    client.write_all(WILLING).await?;
                }
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(far).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    format!("{credentials}@{near}/{name}")
}

fn is_about_the_certificate(fault: &Fault, of: Dependency) -> bool {
    let text = format!("{fault:?}").to_lowercase();
    matches!(fault, Fault::Down(dependency, _) if *dependency == of)
        && (text.contains("certificate") || text.contains("unknownissuer"))
}

#[tokio::test]
async fn the_broker_by_tls_is_trusted_by_the_authority_we_name_and_by_no_other() {
    let url = by_tls(&setting("STEPUP_AMQP_URL").replace("amqp://", "amqps://"), None).await;
    let broker = |ca_file| {
        let (url, prefix, connection_name) = (url.clone(), "tls".to_owned(), "tls test".to_owned());
        Broker::new(broker::BrokerSettings { url, prefix, connection_name, ca_file }).unwrap()
    };
    let trusting = broker(Some(authority()));
    // What is not there is said by a broker that was reached.
    let told = topology::depth(&trusting, "no-such-queue").await.unwrap_err();
    assert!(format!("{told:?}").contains("no queue"), "{told:?}");
    trusting.close().await;
    let told = topology::depth(&broker(None), "no-such-queue").await.unwrap_err();
    assert!(is_about_the_certificate(&told, Dependency::Broker), "{told:?}");
}

#[tokio::test]
async fn the_database_by_tls_is_trusted_by_the_authority_we_name_and_by_no_other() {
    let url = by_tls(&setting("STEPUP_DATABASE_URL"), Some(SSL_REQUEST)).await;
    let store = |ca_file| {
        let settings = store::DatabaseSettings {
            url: format!("{}?sslmode=require", url.split('?').next().unwrap()),
            connections_max: 1,
            transaction_max: Duration::from_secs(5),
            ca_file,
            application_name: "tls test".into(),
        };
        Store::new(&settings).unwrap()
    };
    store(Some(authority())).ping().await.unwrap();
    let told = store(None).ping().await.unwrap_err();
    assert!(is_about_the_certificate(&told, Dependency::Database), "{told:?}");
}
