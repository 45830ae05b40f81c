//! Pure. getWelcome, confirmWelcome.

use crate::types::{ConvoId, DeviceId};
use crate::wire::{Text, TextBytesOut, Unkept};

input! {
    pub struct GetWelcome {
        pub convo_id: ConvoId,
        pub device_id: Option<DeviceId>,
    }

    pub struct ConfirmWelcome {
        pub convo_id: ConvoId,
        pub success: bool,
        pub device_id: Option<DeviceId>,
        /// What went wrong at the client: it may name people.
        pub error_details: Option<Unkept<Text<0, 1024>>>,
    }
}

output! {
    pub struct WelcomeView {
        pub convo_id: ConvoId,
        pub welcome: TextBytesOut,
    }

    pub struct Confirmed {
        pub confirmed: bool,
    }
}
