//! What a token may be bound to besides time: paths, countries, networks, methods, a watermark.
//!
//! Each has one strict grammar, used by signer and verifier alike. The functions over `&str` take a text that
//! passed the grammar once; the types are the owned form, for whoever makes a [`super::Grant`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Why a text is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundError {
    /// Not a list of countries.
    #[error(
        "a country bound is two-letter codes in capitals with commas between them, after - for all but these"
    )]
    Countries,
    /// Not a network.
    #[error("an address bound is an address with an optional /prefix, such as 203.0.113.0/24")]
    Network,
    /// Not a list of methods.
    #[error("a method bound is names in capitals with commas between them")]
    Methods,
    /// Not a watermark id.
    #[error("a watermark id is 32 lowercase hexadecimal digits")]
    Watermark,
}

/// Countries a token opens in (`DE,AT`), or all but these (`-US,CA`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Countries(String);

/// A network by its prefix: `203.0.113.0/24`, `2001:db8::/48`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    /// Invariant: at most 32 for IPv4, 128 for IPv6; upheld by `from_str`.
    prefix: u8,
}

/// Methods a token opens for, such as `GET,HEAD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Methods(String);

/// The id that a marked play carries in its sound (MEDIA.md §7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Watermark([u8; 16]);

impl Countries {
    /// The bound as it stands in a token.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a client in `country` is inside; an unknown country never is.
    pub fn admit(&self, country: Option<&str>) -> bool {
        admits_country(&self.0, country)
    }
}

impl Cidr {
    /// Whether `address` is inside. An IPv4 client met on a dual-stack socket counts as IPv4.
    pub fn holds(self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same_prefix(network.to_bits().into(), address.to_bits().into(), 32 - u32::from(self.prefix))
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                same_prefix(network.to_bits(), address.to_bits(), 128 - u32::from(self.prefix))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Methods {
    /// The bound as it stands in a token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Watermark {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for Countries {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        is_country_list(text).then(|| Self(text.to_owned())).ok_or(BoundError::Countries)
    }
}

impl FromStr for Cidr {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| BoundError::Network)?;
        let widest = if network.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => widest,
            Some(digits) => {
                parse_prefix(digits).filter(|prefix| *prefix <= widest).ok_or(BoundError::Network)?
            }
        };
        Ok(Self { network, prefix })
    }
}

impl FromStr for Methods {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        is_method_list(text).then(|| Self(text.to_owned())).ok_or(BoundError::Methods)
    }
}

impl FromStr for Watermark {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| BoundError::Watermark)?;
        bytes.try_into().map(Self).map_err(|_| BoundError::Watermark)
    }
}

impl fmt::Display for Countries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watermark({self})")
    }
}

/// One path, or a prefix that ends in `/*`; no other star.
pub(super) fn is_scope(text: &str) -> bool {
    let before_star = text.strip_suffix('*').unwrap_or(text);
    let ends_well = before_star.len() == text.len() || before_star.ends_with('/');
    text.starts_with('/') && ends_well && !before_star.contains('*')
}

/// Whether `path` is inside a scope that passed [`is_scope`].
pub(super) fn covers(scope: &str, path: &str) -> bool {
    match scope.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == scope,
    }
}

/// `-`, optional, then codes of two capitals with commas between them.
pub(super) fn is_country_list(text: &str) -> bool {
    let codes = text.strip_prefix('-').unwrap_or(text);
    codes.split(',').all(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()))
}

/// Whether a list that passed [`is_country_list`] admits `country`. What is no two-letter code is unknown,
/// and the unknown is refused by both forms of the list.
pub(super) fn admits_country(list: &str, country: Option<&str>) -> bool {
    let known = |code: &&str| code.len() == 2 && code.bytes().all(|b| b.is_ascii_alphabetic());
    let Some(country) = country.filter(known) else {
        return false;
    };
    let listed = |codes: &str| codes.split(',').any(|code| code.eq_ignore_ascii_case(country));
    match list.strip_prefix('-') {
        Some(codes) => !listed(codes),
        None => listed(list),
    }
}

/// Names of capitals with commas between them.
pub(super) fn is_method_list(text: &str) -> bool {
    text.split(',').all(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase()))
}

/// Whether a list that passed [`is_method_list`] names `method`.
pub(super) fn admits_method(list: &str, method: &str) -> bool {
    list.split(',').any(|name| name == method)
}

/// One to three digits without a leading zero.
fn parse_prefix(digits: &str) -> Option<u8> {
    let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let canonical = digits == "0" || !digits.starts_with('0');
    (plain && canonical).then(|| digits.parse().ok()).flatten()
}

/// Whether two addresses agree once the last `host_bits` are dropped; 128 of them leave nothing to differ in.
fn same_prefix(network: u128, address: u128, host_bits: u32) -> bool {
    (network ^ address).checked_shr(host_bits).unwrap_or(0) == 0
}
