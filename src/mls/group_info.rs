//! Pure. GroupInfo (RFC 9420 section 12.4.3): what a stranger needs to join by an
//! external commit.

use super::reader::{MlsError, Reader};

/// The clear part of a GroupInfo.
#[derive(Clone, Copy, Debug)]
pub struct GroupInfo<'a> {
    /// The IANA number of the group's cipher suite.
    pub suite_number: u16,
    pub group_id: &'a [u8],
    pub epoch: u64,
    /// Whether external commits are possible: the `external_pub` extension is there.
    pub has_external_pub: bool,
}

impl<'a> GroupInfo<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, MlsError> {
        reader.version()?;
        let suite_number = reader.u16()?;
        let group_id = reader.opaque()?;
        let epoch = reader.u64()?;
        let _tree_hash = reader.opaque()?;
        let _confirmed_transcript_hash = reader.opaque()?;
        reader.extensions(|_, _| ())?;
        let mut has_external_pub = false;
        reader.extensions(|kind, _| has_external_pub |= kind == EXTERNAL_PUB)?;
        let _confirmation_tag = reader.opaque()?;
        let _signer = reader.u32()?;
        let _signature = reader.opaque()?;
        Ok(Self {
            suite_number,
            group_id,
            epoch,
            has_external_pub,
        })
    }
}

const EXTERNAL_PUB: u16 = 4;
