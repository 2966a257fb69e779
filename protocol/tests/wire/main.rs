//! The bytes of the protocol: round trips, committed fixtures, hostile input, limits, and that
//! `WIRE.md` and `RECORDS.md` say what the code does.

#[cfg(test)]
mod document;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod strategies;
