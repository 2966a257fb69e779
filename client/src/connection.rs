//! Keeps a connection to one address: greets, writes what is queued, hands out what arrives,
//! and begins anew when it breaks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use protocol::frame::{self, FrameReader};
use protocol::message::Hello;
use protocol::{HandshakeMessage, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::backoff::Backoff;
use crate::client::Options;
use crate::error::ClientError;
use crate::in_flight::InFlight;
use crate::limits::{READ_BYTES, RECONNECT_PAUSE_MAX, RECONNECT_PAUSE_MIN, SWEEP_INTERVAL};

/// A connection on which both sides have greeted.
pub(crate) struct Established {
    pub(crate) stream: TcpStream,
    pub(crate) frames: FrameReader,
    pub(crate) server: Hello,
}

/// Keeps a connection up for as long as the client lives.
pub(crate) async fn keep(in_flight: Arc<InFlight>, options: Options, first: Established) {
    let mut established = Some(first);
    let mut backoff = new_backoff();
    loop {
        let trouble = match established.take() {
            Some(connection) => {
                let since = Instant::now();
                in_flight.connected();
                let trouble = converse(&in_flight, connection).await;
                if since.elapsed() > RECONNECT_PAUSE_MAX {
                    backoff = new_backoff();
                }
                trouble
            }
            None => match establish(&in_flight.address, &options).await {
                Ok(connection) => {
                    established = Some(connection);
                    continue;
                }
                Err(error) => error,
            },
        };
        in_flight.disconnected(&trouble);
        tokio::time::sleep(backoff.pause()).await;
    }
}

fn new_backoff() -> Backoff {
    Backoff::new(RECONNECT_PAUSE_MIN, RECONNECT_PAUSE_MAX)
}

/// Gives up what is overdue, for as long as the client lives.
pub(crate) async fn sweep(in_flight: Arc<InFlight>) {
    loop {
        if in_flight.is_idle() {
            in_flight.wake_sweeper.notified().await;
        }
        tokio::time::sleep(SWEEP_INTERVAL).await;
        in_flight.sweep(Instant::now());
    }
}

/// Connects and exchanges greetings.
pub(crate) async fn establish(address: &str, options: &Options) -> Result<Established, ClientError> {
    let unreachable = |why: String| ClientError::Unreachable { address: address.to_owned(), why };
    match tokio::time::timeout(options.connect_timeout, greet(address, options)).await {
        Ok(done) => done,
        Err(_) => Err(unreachable(format!("no answer within {:?}", options.connect_timeout))),
    }
}

async fn greet(address: &str, options: &Options) -> Result<Established, ClientError> {
    let unreachable =
        |error: std::io::Error| ClientError::Unreachable { address: address.to_owned(), why: error.to_string() };
    let hung_up = || ClientError::NotAccepted { address: address.to_owned(), cluster: options.cluster };
    let violation = |why: String| ClientError::Violation { address: address.to_owned(), why };

    let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let hello = Hello::client(options.cluster);
    stream
        .write_all(&frame::single(&Message::Handshake(HandshakeMessage::Hello(hello))))
        .await
        .map_err(|_| hung_up())?;

    let mut frames = FrameReader::default();
    let mut heard = Vec::new();
    let mut bytes = [0; 4_096];
    while heard.is_empty() {
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return Err(hung_up()),
            Ok(count) => frames.extend(&bytes[..count]),
        }
        frames.drain(|message| heard.push(message)).map_err(|error| violation(error.to_string()))?;
    }
    let Some(Message::Handshake(HandshakeMessage::Hello(server))) = heard.first().cloned() else {
        return Err(violation("it did not greet first".to_owned()));
    };
    if hello.speaks.common(server.speaks).is_none() {
        let (theirs, ours) = (server.speaks, hello.speaks);
        return Err(violation(format!("it speaks {theirs} of the messages, this client {ours}")));
    }
    if server.cluster != options.cluster {
        let (expected, found) = (options.cluster, server.cluster);
        return Err(ClientError::WrongCluster { address: address.to_owned(), expected, found });
    }
    match heard.get(1) {
        None => Ok(Established { stream, frames, server }),
        Some(Message::Handshake(HandshakeMessage::Unwelcome(unwelcome))) => {
            Err(violation(format!("it refuses this connection, {unwelcome}")))
        }
        Some(_) => Err(violation("it spoke before it was asked".to_owned())),
    }
}

/// Reads and writes until the connection breaks; says why.
async fn converse(in_flight: &InFlight, connection: Established) -> ClientError {
    let Established { mut stream, frames, .. } = connection;
    let (from_node, to_node) = stream.split();
    let broken = tokio::select! {
        Err(error) = read_all(in_flight, from_node, frames) => error,
        Err(error) = write_all(in_flight, to_node) => error,
        () = in_flight.hang_up.notified() => lost(in_flight, "nothing was heard although answers are overdue"),
    };
    broken
}

async fn read_all(
    in_flight: &InFlight,
    mut from_node: ReadHalf<'_>,
    mut frames: FrameReader,
) -> Result<Infallible, ClientError> {
    let violation = |why: String| ClientError::Violation { address: in_flight.address.clone(), why };
    let mut bytes = vec![0; READ_BYTES];
    let mut messages = Vec::new();
    loop {
        let count = from_node.read(&mut bytes).await.map_err(|error| lost(in_flight, &error.to_string()))?;
        if count == 0 {
            return Err(lost(in_flight, "the node closed the connection"));
        }
        frames.extend(&bytes[..count]);
        let framed = frames.drain(|message| messages.push(message));
        in_flight.deliver(&mut messages).map_err(violation)?;
        framed.map_err(|error| violation(error.to_string()))?;
    }
}

async fn write_all(in_flight: &InFlight, mut to_node: WriteHalf<'_>) -> Result<Infallible, ClientError> {
    let mut bytes = Vec::new();
    loop {
        while in_flight.take_outgoing(&mut bytes) {
            to_node.write_all(&bytes).await.map_err(|error| lost(in_flight, &error.to_string()))?;
        }
        in_flight.wake_writer.notified().await;
    }
}

fn lost(in_flight: &InFlight, why: &str) -> ClientError {
    ClientError::Unreachable { address: in_flight.address.clone(), why: format!("the connection was lost ({why})") }
}
