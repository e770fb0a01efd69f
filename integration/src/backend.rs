//! Real backends, started by the tests themselves and ended with them.

pub mod aws;
pub mod azure;
pub mod broker;
pub mod card;
pub mod fault_proxy;
pub mod nss;
pub mod openbao;
pub mod p11fault;
pub mod p11kit;
pub mod postgres;
pub mod registry;
pub mod relay;
pub mod token;
