//! Tells whoever supervises the process that it serves, where they want to hear it (systemd's
//! `Type=notify`, sd_notify(3)): until then a restart goes on, and who takes node after node waits
//! with the next.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Nothing to do where nobody asks for it.
pub fn tell_supervisor() -> io::Result<()> {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let address = match socket.as_bytes() {
        // A name that only the kernel knows, of which the crate sd-notify has heard nothing.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)?;
    Ok(())
}
