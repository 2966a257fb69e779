//! The commands of the scripts. `README.md` lists them.

use std::error::Error;
use std::fmt::Display;

use bytes::Bytes;
use goldenscript::{ArgumentConsumer, Command, Runner};
use protocol::message::Submit;
use protocol::{ClientMessage, Condition, Message, NodeId, Operation, Role, Room, ScanOf, TxnId};
use tests::world::network::Link;
use tests::world::{Setup, World, words};

/// A script that is being run.
#[derive(Default)]
pub(crate) struct Story {
    world: Option<World>,
}

type Told = Result<(), Box<dyn Error>>;

impl Runner for Story {
    fn run(&mut self, command: &Command) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        if command.name == "cluster" {
            self.world = Some(World::new(&setup(&mut args)?));
        } else {
            let world = self.world.as_mut().ok_or("a script begins with: cluster")?;
            obey(world, &command.name, &mut args)?;
        }
        args.reject_rest()?;
        let lines = self.world.as_ref().map(|world| world.trace.take()).unwrap_or_default();
        Ok(lines.join("\n"))
    }
}

fn setup(args: &mut ArgumentConsumer<'_>) -> Result<Setup, Box<dyn Error>> {
    let participants = args.lookup_parse("participants")?.unwrap_or(2);
    let coordinators = args.lookup_parse("coordinators")?.unwrap_or(1);
    let max_concurrent: Option<usize> = args.lookup_parse("max_concurrent")?;
    let in_flight_max: Option<usize> = args.lookup_parse("in_flight_max")?;
    let coordinator_outcomes: Option<usize> = args.lookup_parse("coordinator_outcomes")?;
    let participant_outcomes: Option<usize> = args.lookup_parse("participant_outcomes")?;
    Ok(Setup {
        participants,
        coordinators,
        coordinator: Box::new(move |config| {
            config.max_concurrent_txns = max_concurrent.unwrap_or(config.max_concurrent_txns);
            config.outcomes_max = coordinator_outcomes.unwrap_or(config.outcomes_max);
        }),
        participant: Box::new(move |config| {
            config.in_flight_txns_max = in_flight_max.unwrap_or(config.in_flight_txns_max);
            config.outcomes_max = participant_outcomes.unwrap_or(config.outcomes_max);
        }),
    })
}

fn obey(world: &mut World, command: &str, args: &mut ArgumentConsumer<'_>) -> Told {
    match command {
        "submit" => submit(world, args)?,
        "retry" => {
            let client = args.lookup_parse("client")?.map(NodeId::client);
            world.retry(client, txn(args)?)?;
        }
        "status" => {
            let (client, coordinator) = (client(args)?, coordinator(args)?);
            let txn = txn(args)?;
            world.ask(client, coordinator, Message::Client(ClientMessage::AskStatus { txn }));
        }
        "run" => world.run(),
        "deliver" => on_link(world, args, World::deliver)?,
        "drop" => on_link(world, args, World::drop_first)?,
        "duplicate" => on_link(world, args, World::duplicate)?,
        "delay" => on_link(world, args, World::delay)?,
        "meet" => {
            let (one, other) = (node(world, args)?, node(world, args)?);
            world.meet(one, other);
        }
        "reconnect" => {
            let (one, other) = (node(world, args)?, node(world, args)?);
            world.reconnect(one, other);
        }
        "partition" => {
            let (one, other) = (end(world, args)?, end(world, args)?);
            world.partition(one, other);
        }
        "heal" => {
            let (one, other) = (end(world, args)?, end(world, args)?);
            world.heal(one, other);
        }
        "crash" => {
            let lost = args.lookup_parse("losing")?.unwrap_or(0);
            let id = node(world, args)?;
            world.crash(id, lost);
        }
        "tick" => world.tick(duration_us(positional(args)?)?),
        _ => at_node(world, command, args)?,
    }
    Ok(())
}

fn at_node(world: &mut World, command: &str, args: &mut ArgumentConsumer<'_>) -> Told {
    let id = node(world, args)?;
    match command {
        "flush" => world.flush(id),
        "restart" => world.start(id),
        "repair" => world.node_mut(id)?.repair(),
        "pause" => world.node_mut(id)?.paused = true,
        "resume" => world.node_mut(id)?.paused = false,
        "full" => world.node_mut(id)?.log.room = Room::Nothing,
        "scarce" => world.node_mut(id)?.log.room = Room::Deletes,
        "free" => world.node_mut(id)?.log.room = Room::Plenty,
        "checkpoint" => world.node_mut(id)?.checkpoint(),
        "show" => show(world, id)?,
        _ => return Err(format!("unknown command {command}").into()),
    }
    Ok(())
}

fn on_link(world: &mut World, args: &mut ArgumentConsumer<'_>, act: impl Fn(&mut World, Link) -> bool) -> Told {
    let (from, to) = (node(world, args)?, node(world, args)?);
    if act(world, (from, to)) { Ok(()) } else { Err(format!("nothing is on its way from {from} to {to}").into()) }
}

fn submit(world: &mut World, args: &mut ArgumentConsumer<'_>) -> Told {
    let (client, coordinator) = (client(args)?, coordinator(args)?);
    let deadline_ms = args.lookup("deadline").map_or(Ok(0), |deadline| duration_us(&deadline.value))? / 1_000;
    let txn = txn(args)?;
    let operations: Result<Vec<_>, _> = args.rest_pos().iter().map(|text| operation(world, &text.value)).collect();
    world.submit(client, coordinator, Submit { txn, deadline_ms: deadline_ms as u32, operations: operations? });
    Ok(())
}

fn show(world: &World, id: NodeId) -> Told {
    let node = world.node(id)?;
    if !node.is_up() {
        world.trace.line(format!("{id} is down"));
        return Ok(());
    }
    for (key, value) in node.rows() {
        world.trace.line(format!("{id}: {}", words::row(&key, &value)));
    }
    for held in node.gate.held() {
        world.trace.line(format!("{id} holds back {held}"));
    }
    world.trace.line(format!("{id}: {} in flight", node.in_flight()));
    Ok(())
}

fn positional<'a>(args: &mut ArgumentConsumer<'a>) -> Result<&'a str, Box<dyn Error>> {
    args.next_pos().map(|argument| argument.value.as_str()).ok_or_else(|| "an argument is missing".into())
}

fn node(world: &World, args: &mut ArgumentConsumer<'_>) -> Result<NodeId, Box<dyn Error>> {
    node_named(world, positional(args)?)
}

fn node_named(world: &World, name: &str) -> Result<NodeId, Box<dyn Error>> {
    let id = node_id(name).ok_or_else(|| format!("{name} is no node"))?;
    world.node(id)?;
    Ok(id)
}

/// A node or a client.
fn end(world: &World, args: &mut ArgumentConsumer<'_>) -> Result<NodeId, Box<dyn Error>> {
    let name = positional(args)?;
    match name.strip_prefix("client") {
        Some(number) => Ok(NodeId::client(number.parse()?)),
        None => node_named(world, name),
    }
}

fn node_id(name: &str) -> Option<NodeId> {
    let number = name.get(1..)?.parse().ok()?;
    match name.get(..1)? {
        "c" => Some(NodeId::coordinator(number)),
        "p" => Some(NodeId::participant(number)),
        _ => None,
    }
}

fn client(args: &mut ArgumentConsumer<'_>) -> Result<NodeId, Box<dyn Error>> {
    Ok(NodeId::client(args.lookup_parse("client")?.unwrap_or(1)))
}

fn coordinator(args: &mut ArgumentConsumer<'_>) -> Result<NodeId, Box<dyn Error>> {
    let Some(argument) = args.lookup("at") else { return Ok(NodeId::coordinator(1)) };
    let id = node_id(&argument.value).filter(|id| id.role() == Role::Coordinator);
    id.ok_or_else(|| format!("{} is no coordinator", argument.value).into())
}

fn txn(args: &mut ArgumentConsumer<'_>) -> Result<TxnId, Box<dyn Error>> {
    let name = positional(args)?;
    let id = name.strip_prefix('t').and_then(|hex| u128::from_str_radix(hex, 16).ok()).map(TxnId);
    id.ok_or_else(|| format!("{name} is no transaction: t and a number").into())
}

fn duration_us(text: &str) -> Result<u64, Box<dyn Error>> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit_us = match &text[at..] {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        _ => return Err(format!("{text} is no duration: a number with us, ms or s").into()),
    };
    Ok(number::<u64>(&text[..at])? * unit_us)
}

fn number<T: std::str::FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// An operation as a script writes it.
fn operation(world: &World, text: &str) -> Result<Operation, String> {
    let key = |name: &str| world.keys.key(name);
    let value = |text: &str| Bytes::from(text.to_owned());
    Ok(match *text.split_whitespace().collect::<Vec<_>>() {
        ["get", name] => Operation::Get { key: key(name)? },
        ["put", name, text] => Operation::Put { key: key(name)?, value: value(text) },
        ["delete", name] => Operation::Delete { key: key(name)? },
        ["add", name, delta] => add(key(name)?, delta, "..")?,
        ["add", name, delta, bounds] => add(key(name)?, delta, bounds)?,
        ["append", name, text] => Operation::Append { key: key(name)?, value: value(text) },
        ["expect", name, "exists"] => Operation::Expect { key: key(name)?, condition: Condition::Exists },
        ["expect", name, "absent"] => Operation::Expect { key: key(name)?, condition: Condition::Absent },
        ["expect", name, "=", text] => Operation::Expect { key: key(name)?, condition: Condition::Equals(value(text)) },
        ["scan", start, end] => scan(key(start)?, key(end)?, 0, ScanOf::Rows),
        ["scan", start, end, "limit", limit] => scan(key(start)?, key(end)?, number(limit)?, ScanOf::Rows),
        ["totals", start, end] => scan(key(start)?, key(end)?, 0, ScanOf::Totals),
        _ => return Err(format!("{text} is no operation")),
    })
}

fn add(key: Bytes, delta: &str, bounds: &str) -> Result<Operation, String> {
    let (min, max) = bounds.split_once("..").ok_or_else(|| format!("{bounds} are no bounds"))?;
    let min = if min.is_empty() { i64::MIN } else { number(min)? };
    let max = if max.is_empty() { i64::MAX } else { number(max)? };
    Ok(Operation::Add { key, delta: number(delta)?, min, max })
}

fn scan(start: Bytes, end: Bytes, limit: u32, of: ScanOf) -> Operation {
    Operation::Scan { start, end, limit, of }
}
