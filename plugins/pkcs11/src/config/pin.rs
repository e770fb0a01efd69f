//! Where this plugin looks for a PIN when neither key id nor plugin config names a place.

use prokura_plugin::pin::Defaults;

/// Read in this order when no source is named.
pub const DEFAULTS: Defaults =
    Defaults { variable: "PROKURA_PLUGIN_PKCS11_PIN", credential: "notation-pkcs11.pin" };
