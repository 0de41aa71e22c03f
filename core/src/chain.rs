//! An error as one line of a log.

use std::error::Error;

/// An error and its causes, the outermost first, divided by colons.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open the volume")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_what_they_caused() {
        assert_eq!(chain(&Outer(std::io::Error::other("EIO"))), "open the volume: EIO");
    }
}
