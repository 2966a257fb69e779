//! How words of the command line and of the environment become values. Each error says what would be right.

/// Reads a switch. Its flag takes no word: one can only come from its environment variable.
pub(crate) fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("its environment variable takes true or false".to_owned()),
    }
}

/// Reads where a node listens.
pub(crate) fn parse_address(text: &str) -> Result<String, String> {
    node::parse_address(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_a_boolean_and_nothing_else() {
        assert_eq!(["true", "1", "Yes", "ON"].map(parse_switch), [Ok(true), Ok(true), Ok(true), Ok(true)]);
        assert_eq!(["false", "0", "No", "off"].map(parse_switch), [Ok(false), Ok(false), Ok(false), Ok(false)]);
        assert!(["", "maybe", "2", "json"].into_iter().all(|text| parse_switch(text).is_err()));
    }
}
