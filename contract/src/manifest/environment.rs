//! Environment variables in paths of the manifest.

use std::fmt::Write as _;

/// Replaces each `${NAME}` by the environment variable of that name.
///
/// # Errors
///
/// A variable that is not set, or a brace that is not closed.
pub(super) fn expand_environment(text: &str) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let end =
            rest[start..].find('}').ok_or_else(|| format!("`{text}`: `${{` is not closed"))?;
        let name = &rest[start + 2..start + end];
        let value = std::env::var(name)
            .map_err(|_| format!("`{text}`: the environment variable `{name}` is not set"))?;
        let _ = write!(expanded, "{}{value}", &rest[..start]);
        rest = &rest[start + end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_anywhere_in_a_path() {
        let path = std::env::var("PATH").expect("every process has one");
        let expanded = expand_environment("a/${PATH}/b-${PATH}").unwrap();
        assert_eq!(expanded, format!("a/{path}/b-{path}"));
        assert_eq!(expand_environment("$PATH/{a}/}").unwrap(), "$PATH/{a}/}");
    }

    #[test]
    fn a_variable_that_is_not_set_and_an_open_brace_are_errors() {
        let missing = expand_environment("${NO_SUCH_VARIABLE}/a").unwrap_err();
        assert!(
            missing.contains("environment variable `NO_SUCH_VARIABLE` is not set"),
            "{missing}"
        );
        let open = expand_environment("a/${PATH").unwrap_err();
        assert!(open.ends_with("`${` is not closed"), "{open}");
    }
}
