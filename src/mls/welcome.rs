//! Pure. A Welcome (RFC 9420 section 12.4.3.1): which key packages it opens with.

use super::commit::read_hpke_ciphertext;
use super::reader::{MlsError, Reader};

/// A Welcome, as far as it is in the clear.
#[derive(Clone, Debug)]
pub struct Welcome<'a> {
    /// The IANA number of the group's cipher suite.
    pub suite_number: u16,
    /// The reference (section 5.2) of each key package that was consumed.
    pub new_members: Vec<&'a [u8]>,
}

impl<'a> Welcome<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, MlsError> {
        let suite_number = reader.u16()?;
        let mut new_members = Vec::new();
        reader.vector(NEW_MEMBERS_MAX, |secrets| {
            new_members.push(secrets.opaque()?);
            read_hpke_ciphertext(secrets)
        })?;
        let _encrypted_group_info = reader.opaque()?;
        Ok(Self {
            suite_number,
            new_members,
        })
    }
}

/// Devices of one commit.
const NEW_MEMBERS_MAX: usize = 4096;
