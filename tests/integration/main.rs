//! The promises of the relay, kept against a real Postgres, real TLS, real sockets and real
//! MLS. One program, since each more would be linked with everything again; what torments
//! whole clusters has programs of its own beside it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod accounts;
mod acme;
mod auth;
mod calls_at_once;
mod calls_blocks;
mod calls_bodies;
mod calls_bounds;
mod calls_commits;
mod calls_convos;
mod calls_crowds;
mod calls_devices;
mod calls_ephemeral;
mod calls_general;
mod calls_key_packages;
mod calls_messages;
mod calls_pages;
mod calls_race;
mod calls_rejoin;
mod calls_repeated;
mod calls_safety;
mod calls_seats;
mod calls_values;
mod carrier;
mod certificates;
mod clients;
mod configuration;
mod database_tls;
mod demo;
mod drain;
mod early_answers;
mod edge;
mod edge_deadlines;
mod edge_heads;
mod ends;
mod event_frames;
mod event_streams;
mod exhaustion;
mod failover;
mod floods;
mod full_disk;
mod health;
mod hydration;
mod insiders;
mod lexicons;
mod limits_answers;
mod limits_bodies;
mod limits_calls;
mod limits_connections;
mod limits_penalties;
mod limits_places;
mod limits_proxies;
mod limits_relay;
mod limits_requests;
mod limits_rules;
mod limits_script;
mod limits_sharing;
mod limits_waiting;
mod loadtest;
mod locks_of_blocks;
mod locks_of_devices;
mod log_audit;
mod log_macros;
mod lone_send;
mod mutual_tls;
mod nonces;
mod privacy_document;
mod process;
mod reload;
mod replica;
mod resumption;
mod retention;
mod retention_faults;
mod scale;
mod scale_of_changes;
mod scale_of_forgetting;
mod scale_of_key_packages;
mod shut_windows;
mod sockets;
mod standstill;
mod store_groups;
mod store_outages;
mod store_stream;
mod streams;
mod tidy;
mod tls_posture;
mod unread_output;
mod upgrade;
mod vanishing;

#[path = "../support/appview.rs"]
mod appview;
#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/database.rs"]
mod database;
#[path = "../support/event_stream.rs"]
mod event_stream;
#[path = "../support/fault.rs"]
mod fault;
#[path = "../support/frames.rs"]
mod frames;
#[path = "../support/front.rs"]
mod front;
#[path = "../support/http2.rs"]
mod http2;
#[path = "../support/lexicon.rs"]
mod lexicon;
#[path = "../support/limiter.rs"]
mod limiter;
#[path = "../support/openmls_phone.rs"]
mod openmls_phone;
#[path = "../support/owners.rs"]
mod owners;
#[path = "../support/pebble.rs"]
mod pebble;
#[path = "../support/phone.rs"]
mod phone;
#[path = "../support/relay.rs"]
mod relay;
#[path = "../support/secrets.rs"]
mod secrets;
#[path = "../support/sources.rs"]
mod sources;
#[path = "../support/store_values.rs"]
mod store_values;
#[path = "../support/tls.rs"]
mod tls;
#[path = "../support/websocket.rs"]
mod websocket;
#[path = "../support/wording.rs"]
mod wording;
#[path = "../support/world.rs"]
mod world;
