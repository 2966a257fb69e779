//! Engines made to fail in a known way, so that the harness itself can be tested.
//!
//! Each writes one file of records with a checksum and notices every flipped bit; what it then does is its name.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::limits::RECORD_BYTES;
use crate::record::record;
use crate::subject::{Refusal, Subject};

const FILE: &str = "control.log";

/// What a control does where a record is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnDamage {
    /// Reports it: nothing is lost silently.
    Refuse,
    /// Takes it for the end of the log: everything from there on is lost silently.
    Stop,
    /// Panics.
    Panic,
    /// Takes the process with it.
    Abort,
    /// Never answers.
    Hang,
}

/// An engine for tests of the harness.
pub(crate) struct Control(pub(crate) OnDamage);

fn sum(content: &[u8]) -> u32 {
    // FNV-1a: every step is a bijection of the state, so a single changed byte always changes the sum.
    content.iter().fold(0x811c_9dc5, |sum, &byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl Subject for Control {
    fn name(&self) -> &'static str {
        match self.0 {
            OnDamage::Refuse => "control-refuse",
            OnDamage::Stop => "control-stop",
            OnDamage::Panic => "control-panic",
            OnDamage::Abort => "control-abort",
            OnDamage::Hang => "control-hang",
        }
    }

    fn engine(&self) -> String {
        "control".to_owned()
    }

    fn mode(&self) -> &'static str {
        self.name()
    }

    fn is_log(&self, file: &str) -> bool {
        file == FILE
    }

    fn write(&self, dir: &Path, records: u64, acknowledged: &mut dyn FnMut()) -> Result<(), Refusal> {
        let mut file = File::create(dir.join(FILE))?;
        for content in (0..records).map(record) {
            file.write_all(&content)?;
            file.write_all(&sum(&content).to_le_bytes())?;
            file.sync_data()?;
        }
        acknowledged();
        Ok(())
    }

    fn read(&self, dir: &Path, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Refusal> {
        for (index, framed) in fs::read(dir.join(FILE))?.chunks(RECORD_BYTES + 4).enumerate() {
            let content = &framed[..framed.len().saturating_sub(4)];
            if framed[content.len()..] == sum(content).to_le_bytes() {
                each(index as u64, content);
                continue;
            }
            match self.0 {
                OnDamage::Refuse => return Err(format!("{FILE}: record {index} is damaged").into()),
                OnDamage::Stop => return Ok(()),
                OnDamage::Panic => panic!("{FILE}: record {index} is damaged"),
                OnDamage::Abort => std::process::abort(),
                OnDamage::Hang => loop {
                    std::thread::sleep(Duration::from_secs(1));
                },
            }
        }
        Ok(())
    }
}
