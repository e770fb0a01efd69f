//! The protocol buffers of Prokura, as generated Rust; nothing else.
//!
//! The `.proto` files beside this crate are the source. The generated code is committed, so that nobody needs a
//! protobuf compiler and reviewers see what changes; `tests/generated.rs` regenerates and compares it.

/// What a host and a signing plugin say to each other.
pub mod plugin {
    /// Package `prokura.plugin.v1`, from `plugin/v1/plugin.proto`.
    #[allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, reason = "generated")]
    #[rustfmt::skip]
    pub mod v1 {
        include!("gen/prokura.plugin.v1.rs");
    }

    impl std::fmt::Debug for v1::KeyReference {
        /// Names of the plugin config only: its values may be confidential.
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let names: Vec<&String> = self.plugin_config.keys().collect();
            f.debug_struct("KeyReference")
                .field("key_id", &self.key_id)
                .field("plugin_config", &names)
                .finish()
        }
    }
}

/// What a build machine and the broker say to each other.
pub mod broker {
    /// Package `prokura.broker.v1`, from `broker/v1/broker.proto`.
    #[allow(missing_docs, unused_qualifications, unreachable_pub, clippy::all, reason = "generated")]
    #[rustfmt::skip]
    pub mod v1 {
        include!("gen/prokura.broker.v1.rs");
    }
}

#[cfg(test)]
mod tests {
    use super::plugin::v1::{DescribeKeyRequest, KeyReference};

    #[test]
    fn plugin_config_values_do_not_reach_debug() {
        let plugin_config = [("pin".to_owned(), "canary".to_owned())].into();
        let key = KeyReference { key_id: "k".to_owned(), plugin_config };
        let shown = format!("{:?}", DescribeKeyRequest { key: Some(key) });
        assert!(shown.contains("pin") && !shown.contains("canary"), "{shown}");
    }
}
