//! Keeps values and reads secrets: the body is a command of words, and the answer says what came of it.
//!
//! | command | answer |
//! |---|---|
//! | `get KEY` | `VERSION VALUE`, or `none` |
//! | `set KEY VALUE [MS]`, `fill KEY BYTES`, `long BYTES` | the version of the value; of so many bytes; of a key of so many bytes |
//! | `swap KEY VERSION VALUE [MS]` | `done VERSION`, or `differs` and what `get` answers |
//! | `add KEY NUMBER [MS]` | the sum |
//! | `append KEY TEXT` | the value, in one step |
//! | `delete KEY` | whether there was one |
//! | `keys LIMIT [PREFIX]` | the keys, with commas |
//! | `secret NAME` | the secret |
//! | `say NAME` | nothing: writes the secret to the log |
//! | `refuse NAME`, `panic NAME` | none: refuses or panics with the secret in its text |

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use wharf_plugin_sdk::state::{self, Entry, Swapped};
use wharf_plugin_sdk::{
    Body, Error, Lifecycle, Payload, Plugin, Preprocess, Request, Result, log, secret,
};

struct Remember;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// A secret that is found wanting when the plugin starts, in an error that has its text.
    #[serde(default)]
    complain_of: Option<String>,
}

impl Plugin for Remember {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        match settings.complain_of {
            Some(name) => Err(Error::invalid_field(
                "complain_of",
                format!("the secret {} is too easy", secret::read(&name)?),
            )),
            None => Ok(Self),
        }
    }
}

impl Preprocess for Remember {
    fn preprocess(&self, _request: &Request, input: Payload) -> Result<Payload> {
        let text = String::from_utf8(input.body()?.bytes())?;
        let answer = answer(&text.split_whitespace().collect::<Vec<_>>())?;
        Ok(Body::new("text/plain", answer.as_bytes()).into())
    }
}

impl Lifecycle for Remember {}

wharf_plugin_sdk::export!(Remember: preprocess, lifecycle);

fn answer(words: &[&str]) -> Result<String> {
    Ok(match words {
        ["get", key] => shown(state::get(key)?),
        ["set", key, value, rest @ ..] => state::set(key, value, millis(rest)?)?.to_string(),
        ["fill", key, bytes] => state::set(key, vec![b'x'; number(bytes)?], None)?.to_string(),
        ["long", bytes] => state::set(&"k".repeat(number(bytes)?), "", None)?.to_string(),
        ["swap", key, version, value, rest @ ..] => {
            match state::compare_and_swap(key, number(version)?, value, millis(rest)?)? {
                Swapped::Done(version) => format!("done {version}"),
                Swapped::Differs(there) => format!("differs {}", shown(there)),
            }
        }
        ["add", key, by, rest @ ..] => {
            state::increment(key, number(by)?, millis(rest)?)?.to_string()
        }
        ["append", key, text] => {
            let value = state::update(key, None, |there| {
                Ok([there.unwrap_or_default(), text.as_bytes()].concat())
            })?;
            String::from_utf8(value)?
        }
        ["delete", key] => state::delete(key)?.to_string(),
        ["keys", limit, prefix @ ..] => {
            let prefix = prefix.first().copied().unwrap_or_default();
            state::keys(prefix, number(limit)?)?.join(",")
        }
        ["secret", name] => secret::read(name)?,
        ["say", name] => {
            let secret = secret::read(name)?;
            let message = format!("the secret is {secret}");
            log::info(
                &message,
                &[("secret", &secret), ("quoted", &format!("{secret:?}"))],
            );
            String::new()
        }
        ["refuse", name] => {
            let message = format!("{} is not accepted", secret::read(name)?);
            return Err(Error::denied(message));
        }
        ["panic", name] => panic!("no way on with {}", secret::read(name)?),
        _ => return Err(Error::invalid("there is no such command")),
    })
}

fn shown(there: Option<Entry>) -> String {
    there.map_or_else(
        || "none".to_owned(),
        |entry| {
            format!(
                "{} {}",
                entry.version,
                String::from_utf8_lossy(&entry.value)
            )
        },
    )
}

fn millis(words: &[&str]) -> Result<Option<Duration>> {
    let ms = words.first().map(|ms| number(ms)).transpose()?;
    Ok(ms.map(Duration::from_millis))
}

fn number<T: FromStr<Err: Display>>(word: &str) -> Result<T> {
    word.parse()
        .map_err(|error: T::Err| Error::invalid(format!("{word}: {error}")))
}
