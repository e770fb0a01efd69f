//! Trust policy, trust store and verification, from outside: each rule by the words of its refusal.

#[cfg(test)]
mod attempts;
#[cfg(test)]
mod minting;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod store;
#[cfg(test)]
mod verification;
