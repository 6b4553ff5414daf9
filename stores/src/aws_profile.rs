//! Access keys, region and endpoint of a profile in `~/.aws`, which the client does not read itself.

#![cfg(feature = "object-stores")]

use std::collections::HashMap;
use std::path::PathBuf;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

/// Settings of a profile by name.
type Profile = HashMap<String, String>;

/// Adds what the profile says and the environment does not.
///
/// # Errors
///
/// A profile that is named and is not there, or gets its keys in a way that is not supported.
pub fn apply(mut builder: AmazonS3Builder) -> Result<AmazonS3Builder, String> {
    let named = std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
    let name = named.clone().unwrap_or_else(|| "default".to_owned());
    let read = |variable: &str, file: &str| {
        let path = std::env::var_os(variable).map(PathBuf::from);
        let path = path.or_else(|| Some(std::env::home_dir()?.join(".aws").join(file)));
        path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
    };
    let config = read("AWS_CONFIG_FILE", "config");
    let credentials = read("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    let profile = merged(&name, &config, &credentials);
    if profile.is_none() && named.is_some() {
        return Err(format!(
            "there is no profile `{name}`, which `AWS_PROFILE` names, in `~/.aws/config` or \
             `~/.aws/credentials`"
        ));
    }
    let profile = profile.unwrap_or_default();
    let has_other_source = [
        AmazonS3ConfigKey::WebIdentityTokenFile,
        AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
        AmazonS3ConfigKey::ContainerCredentialsFullUri,
    ]
    .iter()
    .any(|key| builder.get_config_value(key).is_some());
    let is_public = builder.get_config_value(&AmazonS3ConfigKey::SkipSignature);
    let has_keys = builder.get_config_value(&AmazonS3ConfigKey::AccessKeyId).is_some()
        || is_public.is_some_and(|text| text == "true");
    if !has_keys && !has_other_source {
        builder = with_keys(builder, &name, &profile)?;
    }
    let settings =
        [("region", AmazonS3ConfigKey::Region), ("endpoint_url", AmazonS3ConfigKey::Endpoint)];
    for (setting, key) in settings {
        if let Some(value) = profile.get(setting)
            && builder.get_config_value(&key).is_none()
        {
            builder = builder.with_config(key, value);
        }
    }
    Ok(builder)
}

fn with_keys(
    builder: AmazonS3Builder,
    name: &str,
    profile: &Profile,
) -> Result<AmazonS3Builder, String> {
    if let Some((id, secret)) =
        profile.get("aws_access_key_id").zip(profile.get("aws_secret_access_key"))
    {
        let builder = builder
            .with_config(AmazonS3ConfigKey::AccessKeyId, id)
            .with_config(AmazonS3ConfigKey::SecretAccessKey, secret);
        return Ok(match profile.get("aws_session_token") {
            Some(token) => builder.with_config(AmazonS3ConfigKey::Token, token),
            None => builder,
        });
    }
    let other = ["sso_session", "sso_start_url", "role_arn", "credential_process"];
    if let Some(other) = other.into_iter().find(|other| profile.contains_key(*other)) {
        return Err(format!(
            "the profile `{name}` gets its keys by `{other}`, which is not supported\n\
             hint: run `eval \"$(aws configure export-credentials --profile {name} --format env)\"` \
             first"
        ));
    }
    let is_disabled = |text: String| text.eq_ignore_ascii_case("true");
    if std::env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(is_disabled) {
        return Err("no credentials were found\n\
                    hint: set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and \
                    `AWS_SESSION_TOKEN`), or `AWS_PROFILE`; for a public bucket \
                    `AWS_SKIP_SIGNATURE=true`"
            .to_owned());
    }
    Ok(builder) // those of the machine, if it is one of Amazon's
}

/// A profile of both files; what the credentials say counts.
fn merged(name: &str, config: &str, credentials: &str) -> Option<Profile> {
    let header = if name == "default" { "default".to_owned() } else { format!("profile {name}") };
    let (config, credentials) = (section(config, &header), section(credentials, name));
    if config.is_none() && credentials.is_none() {
        return None;
    }
    let mut all = config.unwrap_or_default();
    all.extend(credentials.unwrap_or_default());
    Some(all)
}

/// The settings under a `[header]`.
fn section(text: &str, header: &str) -> Option<Profile> {
    let mut found: Option<Profile> = None;
    let mut is_wanted = false;
    for line in text.lines() {
        // An indented line is a setting of the setting above, as of `s3 =`.
        let is_nested = line.starts_with(char::is_whitespace);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) || is_nested {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            is_wanted = name.split_whitespace().eq(header.split_whitespace());
            if is_wanted {
                found.get_or_insert_default();
            }
        } else if let (true, Some((key, value))) = (is_wanted, line.split_once('=')) {
            let value = value.split(" #").next().unwrap_or_default().trim().to_owned();
            found.get_or_insert_default().insert(key.trim().to_ascii_lowercase(), value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[default]\nregion = eu-west-1\n\n[profile lab]\nregion=us-west-2 # near\n\
                          s3 =\n  addressing_style = path\nendpoint_url = https://store.lab\n";
    const CREDENTIALS: &str =
        "# keys\n[lab]\naws_access_key_id = ID\naws_secret_access_key = a=b\n";

    #[test]
    fn a_profile_is_that_of_both_files() {
        let lab = merged("lab", CONFIG, CREDENTIALS).unwrap();
        assert_eq!(lab["region"], "us-west-2");
        assert_eq!(lab["endpoint_url"], "https://store.lab");
        assert_eq!(lab["aws_secret_access_key"], "a=b");
        assert!(!lab.contains_key("addressing_style"));
        assert_eq!(merged("default", CONFIG, CREDENTIALS).unwrap().len(), 1);
        assert_eq!(merged("other", CONFIG, CREDENTIALS), None);
    }

    #[test]
    fn keys_of_a_sign_on_are_refused_with_the_command_that_exports_them() {
        let profile = Profile::from([("sso_session".to_owned(), "work".to_owned())]);
        let message = with_keys(AmazonS3Builder::new(), "work", &profile).unwrap_err();
        assert!(message.contains("export-credentials --profile work"), "{message}");
    }
}
