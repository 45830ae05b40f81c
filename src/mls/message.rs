//! Pure. MLSMessage (RFC 9420 section 6): the outermost frame, and its kinds.

use super::framing::{Framing, PublicMessage};
use super::group_info::GroupInfo;
use super::key_package::KeyPackage;
use super::reader::{MlsError, Reader, VERSION_MLS10};
use super::welcome::Welcome;

/// Whatever MLS sends to a delivery service.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    Public(PublicMessage<'a>),
    Private(Framing<'a>),
    Welcome(Welcome<'a>),
    GroupInfo(GroupInfo<'a>),
    KeyPackage(Box<KeyPackage<'a>>),
}

impl<'a> Message<'a> {
    /// Parses exactly one message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MlsError> {
        whole(Reader::new(bytes), Self::read)
    }

    /// Parses one message that zero bytes may follow. MLS pads inside the
    /// encryption, where a client cannot easily hit an exact size outside; the
    /// zeros after the message bring it to a padding bucket.
    pub fn parse_padded(bytes: &'a [u8]) -> Result<Self, MlsError> {
        let mut reader = Reader::new(bytes);
        let message = Self::read(&mut reader)?;
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(MlsError::Padding);
        }
        Ok(message)
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, MlsError> {
        reader.version()?;
        match reader.u16()? {
            1 => PublicMessage::read(reader).map(Self::Public),
            2 => Framing::of_private(reader).map(Self::Private),
            3 => Welcome::read(reader).map(Self::Welcome),
            WIRE_GROUP_INFO => GroupInfo::read(reader).map(Self::GroupInfo),
            WIRE_KEY_PACKAGE => KeyPackage::read(reader).map(Box::new).map(Self::KeyPackage),
            _ => Err(MlsError::WireFormat),
        }
    }

    /// What a message of a group shows in the clear (RFC 9420 sections 6.2 and 6.3). Other kinds
    /// belong to no epoch.
    pub fn framing(&self) -> Option<Framing<'a>> {
        match self {
            Self::Public(message) => Some(message.framing),
            Self::Private(framing) => Some(*framing),
            _ => None,
        }
    }
}

impl<'a> KeyPackage<'a> {
    /// Parses a key package, bare or inside an MLSMessage.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MlsError> {
        whole(unwrapped(bytes, WIRE_KEY_PACKAGE), Self::read)
    }
}

impl<'a> GroupInfo<'a> {
    /// Parses a GroupInfo, bare or inside an MLSMessage.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MlsError> {
        whole(unwrapped(bytes, WIRE_GROUP_INFO), Self::read)
    }
}

impl<'a> Welcome<'a> {
    /// Parses a Welcome inside an MLSMessage.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MlsError> {
        match Message::parse(bytes)? {
            Message::Welcome(welcome) => Ok(welcome),
            _ => Err(MlsError::WireFormat),
        }
    }
}

/// Reads all that there is.
fn whole<'a, T>(
    mut reader: Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, MlsError>,
) -> Result<T, MlsError> {
    let value = read(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// What the bytes are of, be it bare or inside an MLSMessage of that wire format. Both
/// begin with a version and a number; only inside one is there a second version, where the
/// bare one has the length of a group id or key, which is never 0.
fn unwrapped(bytes: &[u8], wire_format: u16) -> Reader<'_> {
    let bare = Reader::new(bytes);
    let mut inner = bare;
    let is_message = inner.u16() == Ok(VERSION_MLS10) && inner.u16() == Ok(wire_format);
    let mut next = inner;
    match is_message && next.u16() == Ok(VERSION_MLS10) {
        true => inner,
        false => bare,
    }
}

const WIRE_GROUP_INFO: u16 = 4;
const WIRE_KEY_PACKAGE: u16 = 5;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
