//! Pure. Every call of the relay, by its NSID (ATProto NSID specification).

/// Whether a call is a query (GET), a procedure (POST) or a subscription.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Query,
    Procedure,
    Subscription,
}

macro_rules! calls {
    ($($variant:ident = $kind:ident $name:literal),+ $(,)?) => {
        /// A call under `blue.catbird.mls.`.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Nsid { $($variant),+ }

        impl Nsid {
            /// Every call.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Finds a call by its whole NSID, as it stands in the path and in `lxm`.
            pub fn parse(nsid: &str) -> Option<Self> {
                match nsid.strip_prefix("blue.catbird.mls.")? {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The last segment: the name in metrics and documents.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The whole NSID.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => concat!("blue.catbird.mls.", $name)),+ }
            }

            /// What its lexicon makes it, from which the HTTP method follows (ATProto XRPC).
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind),+ }
            }

            /// Whether it brings the same again: some queries use up what they give out.
            pub fn is_repeatable(self) -> bool {
                self.kind() == Kind::Query && self != Self::GetKeyPackages
            }

            /// Whether it changes nothing (RFC 9110 section 9.2.1): a Welcome is marked as
            /// fetched.
            pub fn is_safe(self) -> bool {
                self.is_repeatable() && self != Self::GetWelcome
            }
        }
    };
}

calls! {
    AddMembers = Procedure "addMembers",
    CheckBlocks = Query "checkBlocks",
    ConfirmWelcome = Procedure "confirmWelcome",
    CreateConvo = Procedure "createConvo",
    DeleteDevice = Procedure "deleteDevice",
    DemoteAdmin = Procedure "demoteAdmin",
    GetAdminStats = Query "getAdminStats",
    GetBlockStatus = Query "getBlockStatus",
    GetCommits = Query "getCommits",
    GetConvos = Query "getConvos",
    GetEpoch = Query "getEpoch",
    GetGroupInfo = Query "getGroupInfo",
    GetKeyPackageStats = Query "getKeyPackageStats",
    GetKeyPackages = Query "getKeyPackages",
    GetMessages = Query "getMessages",
    GetOptInStatus = Query "getOptInStatus",
    GetReports = Query "getReports",
    GetSubscriptionTicket = Procedure "getSubscriptionTicket",
    GetWelcome = Query "getWelcome",
    HandleBlockChange = Procedure "handleBlockChange",
    LeaveConvo = Procedure "leaveConvo",
    ListDevices = Query "listDevices",
    OptIn = Procedure "optIn",
    OptOut = Procedure "optOut",
    ProcessExternalCommit = Procedure "processExternalCommit",
    PromoteAdmin = Procedure "promoteAdmin",
    PublishKeyPackage = Procedure "publishKeyPackage",
    PublishKeyPackages = Procedure "publishKeyPackages",
    RegisterDevice = Procedure "registerDevice",
    RemoveMember = Procedure "removeMember",
    ReportMember = Procedure "reportMember",
    RequestRejoin = Procedure "requestRejoin",
    ResolveReport = Procedure "resolveReport",
    SendEphemeral = Procedure "sendEphemeral",
    SendMessage = Procedure "sendMessage",
    StreamConvoEvents = Query "streamConvoEvents",
    SubscribeConvoEvents = Subscription "subscribeConvoEvents",
    SyncKeyPackages = Procedure "syncKeyPackages",
    UpdateCursor = Procedure "updateCursor",
    UpdateGroupInfo = Procedure "updateGroupInfo",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_by_its_nsid_only() {
        for call in Nsid::ALL {
            assert_eq!(Nsid::parse(call.as_str()), Some(*call));
        }
        assert_eq!(Nsid::parse("sendMessage"), None);
        assert_eq!(Nsid::parse("blue.catbird.mls.sendmessage"), None);
    }
}
