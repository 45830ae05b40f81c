-- Indexes for what was read without one: a device's stock of key packages, whoever ever was
-- in a conversation, and what goes with a conversation, a device or an account.

CREATE INDEX key_packages_of_device ON key_packages (user_did, device_id);
CREATE INDEX members_ever ON members (convo_id);
CREATE INDEX welcomes_of_convo ON welcomes (convo_id);
CREATE INDEX welcomes_of_device ON welcomes (user_did, device_id);
CREATE INDEX read_cursors_of_convo ON read_cursors (convo_id);
CREATE INDEX blocks_of_blocked ON blocks (blocked_did);
