//! A way to the broker that a test can cut, and at whose end the broker can have an alarm: as in
//! RabbitMQ, a connection is blocked when it publishes, and others are not.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::setting;

/// Frames of AMQP 0-9-1: type, channel (2), size (4), payload, end. Type 1 is a method: class (2),
/// method (2), arguments.
const FRAME_HEAD: usize = 7;
const FRAME_END: u8 = 0xCE;
/// `basic.publish`.
const PUBLISH: [u8; 4] = [0, 60, 0, 40];
/// `exchange.declare`, `queue.declare`, `queue.bind`.
const DECLARATIONS: [[u8; 4]; 3] = [[0, 40, 0, 10], [0, 50, 0, 10], [0, 50, 0, 20]];
/// `connection.blocked`, with the reason "x", and `connection.unblocked`, on channel 0.
const BLOCKED: [u8; 14] = [1, 0, 0, 0, 0, 0, 6, 0, 10, 0, 60, 1, b'x', FRAME_END];
const UNBLOCKED: [u8; 12] = [1, 0, 0, 0, 0, 0, 4, 0, 10, 0, 61, FRAME_END];

/// The way. Closed when dropped, as far as nobody uses it.
pub struct Line {
    /// The broker's URL by this way.
    pub url: String,
    alarm: watch::Sender<bool>,
    cuts: watch::Sender<u32>,
    declared: Declared,
}

/// The methods that declare something, without their frames.
type Declared = Arc<Mutex<Vec<Vec<u8>>>>;

impl Line {
    pub async fn lay() -> Self {
        let real = setting("STEPUP_AMQP_URL");
        let (credentials, rest) = real.split_once('@').unwrap();
        let (address, vhost) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{credentials}@{}/{vhost}", listener.local_addr().unwrap());
        let (alarm, alarmed) = watch::channel(false);
        let (cuts, cut) = watch::channel(0);
        let (address, declared) = (address.to_owned(), Declared::default());
        let heard = Arc::clone(&declared);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (mut cut, alarmed, address) = (cut.clone(), alarmed.clone(), address.clone());
                let heard = Arc::clone(&heard);
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let far = TcpStream::connect(address).await.unwrap();
                    tokio::select! {
                        _ = carry(near, far, alarmed, heard) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { url, alarm, cuts, declared }
    }

    /// What was declared and bound by this way: class, method and arguments of each, in order.
    pub fn declared(&self) -> Vec<Vec<u8>> {
        self.declared.lock().unwrap().clone()
    }

    /// Ends every connection; new ones are let through.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Whether the broker has an alarm.
    pub fn alarm(&self, on: bool) {
        self.alarm.send_replace(on);
    }
}

async fn carry(
    near: TcpStream,
    far: TcpStream,
    mut alarm: watch::Receiver<bool>,
    declared: Declared,
) -> io::Result<()> {
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let (down, mut downward) = mpsc::channel::<Vec<u8>>(64);
    let aside = down.clone();
    let upward = async {
        let mut hello = [0; 8];
        from_near.read_exact(&mut hello).await?;
        to_far.write_all(&hello).await?;
        loop {
            let frame = frame(&mut from_near).await?;
            let method = &frame[FRAME_HEAD..frame.len() - 1];
            if frame[0] == 1 && DECLARATIONS.iter().any(|start| method.starts_with(start)) {
                declared.lock().unwrap().push(method.to_vec());
            }
            if frame[0] == 1 && frame[FRAME_HEAD..].starts_with(&PUBLISH) && *alarm.borrow() {
                let _ = aside.send(BLOCKED.to_vec()).await;
                let _ = alarm.wait_for(|on| !on).await;
                let _ = aside.send(UNBLOCKED.to_vec()).await;
            }
            to_far.write_all(&frame).await?;
        }
    };
    let reading = async {
        loop {
            let _ = down.send(frame(&mut from_far).await?).await;
        }
    };
    let writing = async {
        while let Some(frame) = downward.recv().await {
            to_near.write_all(&frame).await?;
        }
        Ok(())
    };
    tokio::select! {
        end = upward => end,
        end = reading => end,
        end = writing => end,
    }
}

async fn frame(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut head = [0; FRAME_HEAD];
    from.read_exact(&mut head).await?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    let mut frame = head.to_vec();
    frame.resize(FRAME_HEAD + size + 1, 0);
    from.read_exact(&mut frame[FRAME_HEAD..]).await?;
    assert_eq!(frame.last(), Some(&FRAME_END), "out of step with the frames");
    Ok(frame)
}
