//! The client against a coordinator that does exactly what each test says.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use client::{Client, ClientError, Options, Outcome, Traffic, Transaction};
use protocol::frame::{self, FrameReader};
use protocol::message::{Hello, Stats, Submit, TxnStatus};
use protocol::{
    AdminMessage, ClientMessage, ClusterId, HandshakeMessage, Message, OperationResult, Reason, RecoveryMessage,
    Refusal, Role, TxnId,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PROCESS: protocol::Process = protocol::Process { log: 1, epoch: 1, start: 1 };

struct Coordinator {
    listener: TcpListener,
}

struct Connection {
    stream: TcpStream,
    frames: FrameReader,
    heard: std::collections::VecDeque<Message>,
}

impl Coordinator {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (Self { listener }, address)
    }

    async fn accept_raw(&self) -> Connection {
        let (stream, _) = self.listener.accept().await.unwrap();
        Connection { stream, frames: FrameReader::default(), heard: Default::default() }
    }

    async fn accept(&self) -> Connection {
        let mut connection = self.accept_raw().await;
        connection.say(&hello(1)).await;
        assert!(matches!(
            connection.hear().await,
            Message::Handshake(HandshakeMessage::Hello(Hello { role: Role::Client, .. }))
        ));
        connection
    }
}

impl Connection {
    async fn say(&mut self, message: &Message) {
        self.stream.write_all(&frame::single(message)).await.unwrap();
    }

    async fn hear(&mut self) -> Message {
        self.try_hear().await.expect("the client hung up")
    }

    async fn try_hear(&mut self) -> Option<Message> {
        let mut bytes = [0; 4096];
        while self.heard.is_empty() {
            let count = self.stream.read(&mut bytes).await.unwrap_or(0);
            if count == 0 {
                return None;
            }
            self.frames.extend(&bytes[..count]);
            self.frames.drain(|message| self.heard.push_back(message)).unwrap();
        }
        self.heard.pop_front()
    }

    async fn hear_submit(&mut self) -> Submit {
        let message = self.hear().await;
        let Message::Client(ClientMessage::Submit(submit)) = message else {
            panic!("expected a transaction, heard {message:?}")
        };
        submit
    }
}

fn hello(cluster: u64) -> Message {
    Message::Handshake(HandshakeMessage::Hello(Hello::daemon(Role::Coordinator, 1, ClusterId(cluster), PROCESS)))
}

fn committed(txn: TxnId, number: i64) -> Message {
    Message::Client(ClientMessage::Committed { txn, results: Some(vec![OperationResult::Number(number)]) })
}

fn options(deadline_ms: u64) -> Options {
    Options {
        deadline: Duration::from_millis(deadline_ms),
        grace: Duration::from_millis(100),
        connect_timeout: Duration::from_secs(1),
        ..Options::default()
    }
}

fn add(delta: i64) -> Transaction {
    Transaction::new().add("x", delta)
}

async fn connected(deadline_ms: u64) -> (Coordinator, Connection, Client) {
    let (coordinator, address) = Coordinator::start().await;
    let (connection, client) = tokio::join!(coordinator.accept(), Client::connect(address, options(deadline_ms)));
    (coordinator, connection, client.unwrap())
}

#[tokio::test]
async fn many_are_in_flight_and_answers_find_their_transactions_in_any_order() {
    let (_coordinator, mut connection, client) = connected(5_000).await;
    let calls: Vec<_> = (0..1_000)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { (number, client.submit(add(number)).await.unwrap()) })
        })
        .collect();
    let mut heard = Vec::new();
    for _ in 0..1_000 {
        heard.push(connection.hear_submit().await);
    }
    for submit in heard.into_iter().rev() {
        let protocol::Operation::Add { delta, .. } = submit.operations[0] else { panic!() };
        connection.say(&committed(submit.txn, delta)).await;
    }
    for call in calls {
        let (number, outcome) = call.await.unwrap();
        assert_eq!(outcome, Outcome::Committed { results: Some(vec![OperationResult::Number(number)]) });
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_the_same_id_is_sent_with_the_time_that_is_left() {
    let (coordinator, mut connection, client) = connected(5_000).await;
    let call = tokio::spawn(async move { client.submit(add(1)).await });
    let first = connection.hear_submit().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(connection);
    let mut connection = coordinator.accept().await;
    let second = connection.hear_submit().await;
    assert_eq!((first.txn, &first.operations), (second.txn, &second.operations));
    assert!(second.deadline_ms <= first.deadline_ms - 50, "{} then {}", first.deadline_ms, second.deadline_ms);
    connection.say(&Message::Client(ClientMessage::Committed { txn: second.txn, results: None })).await;
    assert_eq!(call.await.unwrap(), Ok(Outcome::Committed { results: None }));
}

#[tokio::test]
async fn busy_is_tried_again_under_the_same_id() {
    let (_coordinator, mut connection, client) = connected(5_000).await;
    let call = tokio::spawn(async move { client.submit(add(1)).await });
    let first = connection.hear_submit().await;
    connection.say(&Message::Client(ClientMessage::Busy { txn: first.txn })).await;
    let second = connection.hear_submit().await;
    assert_eq!((first.txn, &first.operations), (second.txn, &second.operations));
    connection.say(&committed(second.txn, 1)).await;
    assert!(matches!(call.await.unwrap(), Ok(Outcome::Committed { .. })));
}

/// Answers BUSY to everything, for ever; every transaction that it was asked for, as often as it was.
async fn say_busy(mut connection: Connection, asked: std::sync::Arc<std::sync::Mutex<Vec<TxnId>>>) {
    loop {
        let txn = connection.hear_submit().await.txn;
        asked.lock().unwrap().push(txn);
        connection.say(&Message::Client(ClientMessage::Busy { txn })).await;
    }
}

#[tokio::test]
async fn a_busy_coordinator_is_asked_for_everything_once_and_for_little_of_it_again() {
    const TXNS: usize = 3_000;
    let (_coordinator, connection, client) = connected(1_000).await;
    let asked = std::sync::Arc::default();
    tokio::spawn(say_busy(connection, std::sync::Arc::clone(&asked)));
    let calls: Vec<_> = (0..TXNS)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.submit(add(1)).await })
        })
        .collect();
    for call in calls {
        assert!(matches!(call.await.unwrap(), Ok(Outcome::Aborted { at_deadline: true, .. })));
    }
    let asked = asked.lock().unwrap();
    let distinct: std::collections::HashSet<_> = asked.iter().collect();
    assert_eq!(distinct.len(), TXNS);
    // The rest is for a busy machine.
    let again_max = client::limits::RETRY_UNITS_MAX + 10.0 * client::limits::RETRY_UNITS_PER_SECOND;
    assert!(((asked.len() - TXNS) as f64) <= again_max, "asked {} times", asked.len());
}

#[tokio::test]
async fn after_busy_large_transactions_come_by_and_by_and_all_within_their_time() {
    let (_coordinator, connection, client) = connected(2_000).await;
    let asked = std::sync::Arc::default();
    tokio::spawn(say_busy(connection, std::sync::Arc::clone(&asked)));
    let large = |txn| Transaction::with_id(TxnId(txn)).put("x", vec![b'x'; 400 << 10]);
    assert!(matches!(client.submit(large(1).deadline(Duration::from_millis(600))).await, Ok(Outcome::Aborted { .. })));
    let (before, begun) = (asked.lock().unwrap().len(), Instant::now());
    let calls: Vec<_> = (2..22)
        .map(|txn| {
            let client = client.clone();
            tokio::spawn(async move { client.submit(large(txn)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let so_far = asked.lock().unwrap().len() - before;
    assert!(so_far <= 12 || begun.elapsed() > Duration::from_millis(900), "{so_far} were asked for at once");
    for call in calls {
        assert!(matches!(call.await.unwrap(), Ok(Outcome::Aborted { at_deadline: true, .. })));
    }
    let distinct: std::collections::HashSet<_> = asked.lock().unwrap().iter().copied().collect();
    assert_eq!(distinct.len(), 21, "each may be for a participant that is not busy");
}

#[tokio::test]
async fn busy_until_the_deadline_is_an_abort_because_nothing_was_tried() {
    let (_coordinator, mut connection, client) = connected(100).await;
    let call = tokio::spawn(async move { client.submit(add(1)).await });
    tokio::spawn(async move {
        loop {
            let txn = connection.hear_submit().await.txn;
            connection.say(&Message::Client(ClientMessage::Busy { txn })).await;
        }
    });
    let refusal = Refusal::by_coordinator(Reason::Busy);
    assert_eq!(call.await.unwrap(), Ok(Outcome::Aborted { refusal, at_deadline: true }));
}

#[tokio::test]
async fn busy_after_a_lost_connection_is_unknown_because_the_first_try_may_have_been_admitted() {
    let (coordinator, mut connection, client) = connected(300).await;
    let call = tokio::spawn(async move { client.submit(add(1)).await });
    connection.hear_submit().await;
    drop(connection);
    let mut connection = coordinator.accept().await;
    tokio::spawn(async move {
        loop {
            let txn = connection.hear_submit().await.txn;
            connection.say(&Message::Client(ClientMessage::Busy { txn })).await;
        }
    });
    assert!(matches!(call.await.unwrap(), Err(ClientError::Unknown { .. })));
}

#[tokio::test]
async fn without_an_answer_the_outcome_is_unknown_and_its_status_can_be_asked() {
    let (_coordinator, mut connection, client) = connected(100).await;
    let transaction = add(1);
    let txn = transaction.id();
    let begun = Instant::now();
    let error = client.submit(transaction).await.unwrap_err();
    assert!(matches!(error, ClientError::Unknown { txn: unknown, .. } if unknown == txn), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(200), "waits for the grace");
    let asked = tokio::spawn(async move { client.status(txn).await });
    connection.hear_submit().await;
    assert_eq!(connection.hear().await, Message::Client(ClientMessage::AskStatus { txn }));
    connection.say(&Message::Client(ClientMessage::Status { txn, status: TxnStatus::Committed })).await;
    assert_eq!(asked.await.unwrap(), Ok(TxnStatus::Committed));
}

#[tokio::test]
async fn what_was_never_sent_is_unreachable_not_unknown() {
    let (coordinator, connection, client) = connected(200).await;
    drop(coordinator);
    drop(connection);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let error = client.submit(add(1)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn an_error_names_the_address_and_what_to_look_at_once() {
    let (coordinator, mut connection, client) = connected(200).await;
    let sent = tokio::spawn({
        let client = client.clone();
        async move { client.submit(add(1)).await.unwrap_err() }
    });
    connection.hear_submit().await;
    drop(coordinator);
    drop(connection);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let never_sent = client.submit(add(2)).await.unwrap_err();
    let figures = client.stats().await.unwrap_err();
    for error in [sent.await.unwrap(), never_sent, figures].map(|error| error.to_string()) {
        assert_eq!(error.matches(client.address()).count(), 1, "{error}");
        assert!(error.matches("is the node running").count() <= 1, "{error}");
    }
}

#[tokio::test]
async fn what_was_asked_is_counted_by_connection_and_by_sending() {
    let (coordinator, mut connection, client) = connected(5_000).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.submit(add(1)).await }
    });
    let txn = connection.hear_submit().await.txn;
    assert_eq!(client.traffic(), Traffic { connections: 1, submits: 1 });
    connection.say(&Message::Client(ClientMessage::Busy { txn })).await;
    connection.hear_submit().await;
    assert_eq!(client.traffic(), Traffic { connections: 1, submits: 2 });
    drop(connection);
    let mut connection = coordinator.accept().await;
    connection.hear_submit().await;
    connection.say(&committed(txn, 1)).await;
    call.await.unwrap().unwrap();
    assert_eq!(client.traffic(), Traffic { connections: 2, submits: 3 });
}

#[tokio::test]
async fn garbage_ends_the_connection_and_the_transaction_is_sent_on_the_next_one() {
    let (coordinator, mut connection, client) = connected(5_000).await;
    let call = tokio::spawn(async move { client.submit(add(1)).await });
    connection.hear_submit().await;
    connection.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert_eq!(connection.try_hear().await, None, "the client hangs up");
    let mut connection = coordinator.accept().await;
    let txn = connection.hear_submit().await.txn;
    // Also what only participants hear, and an answer with too few results.
    connection.say(&Message::Recovery(RecoveryMessage::AskOutcome { txn, question: 1 })).await;
    let mut connection = coordinator.accept().await;
    connection.hear_submit().await;
    connection.say(&Message::Client(ClientMessage::Committed { txn, results: Some(Vec::new()) })).await;
    let mut connection = coordinator.accept().await;
    connection.hear_submit().await;
    connection.say(&committed(txn, 1)).await;
    assert!(matches!(call.await.unwrap(), Ok(Outcome::Committed { .. })));
}

#[tokio::test]
async fn connecting_says_what_is_wrong() {
    let (coordinator, address) = Coordinator::start().await;
    let wrong_cluster = async {
        let mut connection = coordinator.accept_raw().await;
        connection.say(&hello(7)).await;
        connection.hear().await;
    };
    let (_, result) = tokio::join!(wrong_cluster, Client::connect(address.clone(), options(100)));
    let (expected, found) = (ClusterId(1), ClusterId(7));
    assert_eq!(result.unwrap_err(), ClientError::WrongCluster { address: address.clone(), expected, found });

    let hangs_up = async { drop(coordinator.accept_raw().await) };
    let (_, result) = tokio::join!(hangs_up, Client::connect(address.clone(), options(100)));
    assert!(matches!(result.unwrap_err(), ClientError::NotAccepted { .. }));

    let another_version = async {
        let mut connection = coordinator.accept_raw().await;
        let mut bytes = frame::single(&hello(1));
        bytes[4] = 9;
        let checksum = crc32c(&bytes[..16]);
        bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
        connection.stream.write_all(&bytes).await.unwrap();
        connection.try_hear().await;
    };
    let (_, result) = tokio::join!(another_version, Client::connect(address.clone(), options(100)));
    let error = result.unwrap_err();
    assert!(matches!(&error, ClientError::Violation { why, .. } if why.contains("version 9")), "{error}");

    let silent = Options { connect_timeout: Duration::from_millis(50), ..options(100) };
    let error = Client::connect(address.clone(), silent).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }));

    drop(coordinator);
    let error = Client::connect(address, options(100)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }));
}

/// Bitwise crc32c, so that the test does not lean on what it tests.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[tokio::test]
async fn a_transaction_beyond_a_limit_is_not_sent() {
    let (_coordinator, mut connection, client) = connected(1_000).await;
    let too_long = vec![b'k'; protocol::limits::KEY_BYTES_MAX + 1];
    let error = client.submit(Transaction::new().get(too_long)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unsendable(_)), "{error}");
    drop(client);
    assert_eq!(connection.try_hear().await, None, "nothing was sent, and dropping the client hangs up");
}

#[tokio::test]
async fn the_same_transaction_submitted_twice_at_once_is_sent_once() {
    let (_coordinator, mut connection, client) = connected(5_000).await;
    let id = TxnId(7);
    let call = |delta| {
        let client = client.clone();
        tokio::spawn(async move { client.submit(Transaction::with_id(id).add("x", delta)).await })
    };
    let (one, two, other) = (call(1), call(1), call(2));
    let refusal = Refusal::by_coordinator(Reason::IdReused);
    assert_eq!(other.await.unwrap(), Ok(Outcome::Aborted { refusal, at_deadline: false }));
    connection.hear_submit().await;
    connection.say(&committed(id, 1)).await;
    assert!(matches!(one.await.unwrap(), Ok(Outcome::Committed { .. })));
    assert!(matches!(two.await.unwrap(), Ok(Outcome::Committed { .. })));
}

#[tokio::test]
async fn figures_are_asked_for_on_the_same_connection() {
    let (_coordinator, mut connection, client) = connected(5_000).await;
    let stats = Stats {
        role: Role::Coordinator,
        node: 1,
        groups: 2,
        records: 3,
        bytes: 4,
        cpu_us: 5,
        sync_us: Default::default(),
        peers: vec!["127.0.0.1:1".to_owned()],
        scrubbed_bytes: 0,
        scrub_passes: 0,
        scrub_findings: 0,
        durable_lsn: 0,
        opening: 1,
        requests: 0,
    };
    let asked = tokio::spawn(async move { client.stats().await });
    assert_eq!(connection.hear().await, Message::Admin(AdminMessage::AskStats));
    connection.say(&Message::Admin(AdminMessage::Stats(stats.clone()))).await;
    assert_eq!(asked.await.unwrap(), Ok(stats));
}

#[tokio::test]
async fn no_more_are_in_flight_than_the_limit() {
    let (_coordinator, mut connection, client) = connected(30_000).await;
    let more = client::limits::IN_FLIGHT_TXNS_MAX + 10;
    let calls: Vec<_> = (0..more)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.submit(add(1)).await })
        })
        .collect();
    let mut heard = Vec::new();
    for _ in 0..client::limits::IN_FLIGHT_TXNS_MAX {
        heard.push(connection.hear_submit().await.txn);
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), connection.hear()).await.is_err());
    for txn in heard {
        connection.say(&committed(txn, 1)).await;
    }
    for _ in 0..10 {
        let txn = connection.hear_submit().await.txn;
        connection.say(&committed(txn, 1)).await;
    }
    for call in calls {
        assert!(matches!(call.await.unwrap(), Ok(Outcome::Committed { .. })));
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_heard_is_replaced() {
    let (coordinator, mut silent, client) = connected(30_000).await;
    let forgotten = Transaction::new().add("x", 1).deadline(client::limits::SILENCE_MAX);
    let error = tokio::spawn({
        let client = client.clone();
        async move { client.submit(forgotten).await.unwrap_err() }
    });
    let waiting = tokio::spawn(async move { client.submit(add(2)).await });
    silent.hear_submit().await;
    silent.hear_submit().await;
    let mut connection = coordinator.accept().await;
    assert!(matches!(error.await.unwrap(), ClientError::Unknown { .. }));
    let again = connection.hear_submit().await;
    connection.say(&committed(again.txn, 2)).await;
    assert!(matches!(waiting.await.unwrap(), Ok(Outcome::Committed { .. })));
}

#[tokio::test]
async fn a_participant_is_told_from_a_coordinator_at_once() {
    let (node, address) = Coordinator::start().await;
    let greet = async {
        let mut connection = node.accept_raw().await;
        let role = Role::Participant;
        connection
            .say(&Message::Handshake(HandshakeMessage::Hello(Hello::daemon(role, 7, ClusterId(1), PROCESS))))
            .await;
        connection
    };
    let (client, _connection) = tokio::join!(Client::connect(address.clone(), options(60_000)), greet);
    let client = client.unwrap();
    let begun = Instant::now();
    let submitted = client.submit(Transaction::new().get("k")).await.unwrap_err();
    let asked = client.status(TxnId(1)).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(submitted, asked);
    assert!(
        submitted.to_string().starts_with(&format!("{address} is participant 7, not a coordinator")),
        "{submitted}"
    );
}
