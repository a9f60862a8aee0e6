//! The registry client against Debian's `docker-registry` on loopback.

mod pull;
mod push;
mod support;
