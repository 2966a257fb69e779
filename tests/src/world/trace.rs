//! What happened, line by line. Every part of a world writes into the same one.

use std::cell::RefCell;
use std::rc::Rc;

/// A list of lines that many share.
#[derive(Clone, Default)]
pub struct Trace(Rc<RefCell<Vec<String>>>);

impl Trace {
    /// Adds a line.
    pub fn line(&self, line: String) {
        self.0.borrow_mut().push(line);
    }

    /// Takes all lines since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        self.0.take()
    }
}
