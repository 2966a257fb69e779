//! How one field of a message or a record is written and read, and the macros that put fields together: a struct is its
//! fields in order, a code is one byte, a family is an enum whose variants have a kind, a direction and a gate.
//!
//! Invariant: what is declared here once is the enum, its bytes, its name and its row; no other list of them exists.
//!
//! Not here: what stands before the fields of a message (`message`) or a record (`record`).

use bytes::{BufMut, Bytes};
use seam::Position;

use crate::codec::{Malformed, Reader, put_attempt, put_count, put_key, put_position, put_process, put_txn};
use crate::id::{Age, Attempt, ClusterId, Process, Role, TxnId};
use crate::limits::{PARTICIPANTS_MAX, STATS_BYTES_MAX};
use crate::operation::{Operation, OperationResult, put_operations, put_results, read_operations, read_results};

/// A field: its bytes, and what an error calls it.
pub(crate) trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, Malformed>;
}

/// Declares a struct whose bytes are those of its fields, in order.
macro_rules! fields {
    (
        $(#[$meta:meta])*
        pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )* }
    ) => {
        $(#[$meta])*
        pub struct $name { $( $(#[$field_meta])* pub $field: $type, )* }

        impl $crate::fields::Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $( $crate::fields::Field::put(&self.$field, out); )*
            }

            fn read(
                reader: &mut $crate::codec::Reader,
                _name: &'static str,
            ) -> Result<Self, $crate::codec::Malformed> {
                Ok(Self { $( $field: $crate::fields::Field::read(reader, stringify!($field))?, )* })
            }
        }
    };
}

/// Declares an enum that is one byte.
macro_rules! codes {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $code:literal, )* }
    ) => {
        $(#[$meta])*
        pub enum $name { $( $(#[$variant_meta])* $variant = $code, )* }

        impl $crate::fields::Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                out.push(*self as u8);
            }

            fn read(
                reader: &mut $crate::codec::Reader,
                field: &'static str,
            ) -> Result<Self, $crate::codec::Malformed> {
                match reader.u8(field)? {
                    $( $code => Ok(Self::$variant), )*
                    code => Err($crate::codec::Malformed::UnknownCode { field, code }),
                }
            }
        }
    };
}

/// Declares a family of messages: each with its kind, who says it to whom, and what it waits for.
macro_rules! family {
    (
        $(#[$meta:meta])*
        pub enum $name:ident in $family:ident {
            $(
                $(#[$variant_meta:meta])*
                $kind:literal: $variant:ident $( ($inner:ty) )?
                $( { $( $(#[$field_meta:meta])* $field:ident: $type:ty, )* } )?,
                $from:ident -> $to:ident, $gate:ident;
            )*
        }
    ) => {
        $(#[$meta])*
        pub enum $name {
            $(
                $(#[$variant_meta])*
                $variant $( ($inner) )? $( { $( $(#[$field_meta])* $field: $type, )* } )?,
            )*
        }

        impl $name {
            /// A row for each message of this family.
            pub const ROWS: &'static [$crate::message::Row] =
                &[ $( row!($family, $kind, $variant, $from, $to, $gate), )* ];

            /// Who may say this to whom, and what it waits for.
            #[must_use]
            pub fn row(&self) -> &'static $crate::message::Row {
                match self {
                    $(
                        Self::$variant $( (field_ignored!($inner)) )? $( { $( $field: _, )* } )? => {
                            &row!($family, $kind, $variant, $from, $to, $gate)
                        }
                    )*
                }
            }

            pub(crate) fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(
                        Self::$variant $( (field_named!(inner, $inner)) )? $( { $( $field, )* } )? => {
                            $( field_put!(inner, $inner, out); )?
                            $( $( $crate::fields::Field::put($field, out); )* )?
                        }
                    )*
                }
            }

            pub(crate) fn read(
                kind: u8,
                reader: &mut $crate::codec::Reader,
            ) -> Result<Self, $crate::codec::Malformed> {
                Ok(match kind {
                    $(
                        $kind => Self::$variant
                            $( (<$inner as $crate::fields::Field>::read(reader, stringify!($variant))?) )?
                            $( { $( $field: $crate::fields::Field::read(reader, stringify!($field))?, )* } )?,
                    )*
                    _ => {
                        let family = $crate::message::Family::$family as u8;
                        return Err($crate::codec::Malformed::UnknownMessage { family, kind });
                    }
                })
            }
        }
    };
}

/// A row of [`family`].
macro_rules! row {
    ($family:ident, $kind:literal, $variant:ident, $from:ident, $to:ident, $gate:ident) => {
        $crate::message::Row {
            family: $crate::message::Family::$family,
            kind: $kind,
            name: stringify!($variant),
            from: $crate::message::Speaker::$from,
            to: $crate::message::Speaker::$to,
            gate: $crate::message::Gate::$gate,
        }
    };
}

/// Helpers of [`family`] for variants with one unnamed field.
macro_rules! field_ignored {
    ($inner:ty) => {
        _
    };
}
macro_rules! field_named {
    ($name:ident, $inner:ty) => {
        $name
    };
}
macro_rules! field_put {
    ($name:ident, $inner:ty, $out:ident) => {
        $crate::fields::Field::put($name, $out)
    };
}

pub(crate) use {codes, family, field_ignored, field_named, field_put, fields, row};

impl Field for u16 {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u16_le(*self);
    }

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, Malformed> {
        reader.u16(name)
    }
}

impl Field for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32_le(*self);
    }

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, Malformed> {
        reader.u32(name)
    }
}

impl Field for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(*self);
    }

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, Malformed> {
        reader.u64(name)
    }
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::from(*self));
    }

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, Malformed> {
        match reader.u8(name)? {
            0 => Ok(false),
            1 => Ok(true),
            code => Err(Malformed::UnknownCode { field: name, code }),
        }
    }
}

impl Field for TxnId {
    fn put(&self, out: &mut Vec<u8>) {
        put_txn(out, *self);
    }

    fn read(reader: &mut Reader, _name: &'static str) -> Result<Self, Malformed> {
        reader.txn()
    }
}

impl Field for Attempt {
    fn put(&self, out: &mut Vec<u8>) {
        put_attempt(out, *self);
    }

    fn read(reader: &mut Reader, _name: &'static str) -> Result<Self, Malformed> {
        reader.attempt()
    }
}

impl Field for Position {
    fn put(&self, out: &mut Vec<u8>) {
        put_position(out, *self);
    }

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, Malformed> {
        reader.position(name)
    }
}

impl Field for Process {
    fn put(&self, out: &mut Vec<u8>) {
        put_process(out, *self);
    }

    fn read(reader: &mut Reader, _name: &'static str) -> Result<Self, Malformed> {
        reader.process()
    }
}

impl Field for Age {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.admitted_us);
        out.put_u32_le(self.coordinator);
    }

    fn read(reader: &mut Reader, _name: &'static str) -> Result<Self, Malformed> {
        Ok(Self { admitted_us: reader.u64("age")?, coordinator: reader.u32("age coordinator")? })
    }
}

impl Field for ClusterId {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.0);
    }

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, Malformed> {
        reader.u64(name).map(Self)
    }
}

impl Field for Role {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(self.code());
    }

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, Malformed> {
        let code = reader.u8(name)?;
        Self::from_code(code).ok_or(Malformed::UnknownCode { field: name, code })
    }
}

/// A histogram.
impl Field for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        assert!(self.len() <= STATS_BYTES_MAX, "a histogram of {} bytes", self.len());
        out.put_u32_le(self.len() as u32);
        out.put_slice(self);
    }

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, Malformed> {
        let length = reader.u32("histogram length")? as usize;
        reader.slice(length, STATS_BYTES_MAX, name)
    }
}

/// The addresses of peers.
impl Field for Vec<String> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.len(), PARTICIPANTS_MAX);
        self.iter().for_each(|address| put_key(out, address.as_bytes()));
    }

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, Malformed> {
        let count = reader.count(2, PARTICIPANTS_MAX, name)?;
        (0..count).map(|_| read_address(reader)).collect()
    }
}

fn read_address(reader: &mut Reader) -> Result<String, Malformed> {
    let address = reader.key()?;
    std::str::from_utf8(&address).map(str::to_owned).map_err(|_| Malformed::NotText("peer address"))
}

/// The numbers of participants.
impl Field for Vec<u32> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.len(), PARTICIPANTS_MAX);
        self.iter().for_each(|participant| out.put_u32_le(*participant));
    }

    fn read(reader: &mut Reader, _name: &'static str) -> Result<Self, Malformed> {
        reader.participants()
    }
}

impl Field for Vec<Operation> {
    fn put(&self, out: &mut Vec<u8>) {
        put_operations(out, self);
    }

    fn read(reader: &mut Reader, _name: &'static str) -> Result<Self, Malformed> {
        read_operations(reader)
    }
}

impl Field for Vec<OperationResult> {
    fn put(&self, out: &mut Vec<u8>) {
        put_results(out, self);
    }

    fn read(reader: &mut Reader, _name: &'static str) -> Result<Self, Malformed> {
        read_results(reader)
    }
}

impl Field for Option<Vec<OperationResult>> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(results) = self {
            results.put(out);
        }
    }

    fn read(reader: &mut Reader, name: &'static str) -> Result<Self, Malformed> {
        Ok(if bool::read(reader, "has results")? { Some(Field::read(reader, name)?) } else { None })
    }
}
