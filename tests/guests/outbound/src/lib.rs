//! Sends the requests that its input lists, one after another or all at once, and gives what they came to. It sends one when it
//! starts, too, where its settings say so.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wharf_plugin_sdk::{
    Body, Error, Lifecycle, Payload, Plugin, Preprocess, Request, Result, http,
};

struct Outbound;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What is asked while the plugin starts. The start fails unless that is refused as unavailable.
    at_start: Option<String>,
}

/// The input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    #[serde(default)]
    together: bool,
    requests: Vec<Planned>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// The media type, and the text or its length.
    body: Option<(String, Content)>,
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Length(usize),
}

/// What a request came to.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        media_type: String,
        length: u64,
        /// The beginning of the body.
        text: String,
    },
    Refusal {
        error: &'static str,
        field: Option<String>,
        message: String,
    },
}

fn get() -> String {
    "GET".to_owned()
}

impl Plugin for Outbound {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if let Some(url) = settings.at_start {
            let sent = http::Request::get(&url).send();
            if !matches!(sent, Err(Error::Unavailable(_))) {
                return Err(Error::failed(format!("the start could ask: {sent:?}")));
            }
        }
        Ok(Self)
    }
}

impl Preprocess for Outbound {
    fn preprocess(&self, _request: &Request, input: Payload) -> Result<Payload> {
        let plan: Plan = input.body()?.parse_json()?;
        let requests = plan.requests.into_iter().map(Planned::request);
        let answers = if plan.together {
            http::send_all(requests.collect())
        } else {
            requests.map(http::Request::send).collect()
        };
        let outcomes: Vec<Outcome> = answers.into_iter().map(outcome).collect();
        Ok(Body::json(&outcomes)?.into())
    }
}

impl Lifecycle for Outbound {}

wharf_plugin_sdk::export!(Outbound: preprocess, lifecycle);

impl Planned {
    fn request(self) -> http::Request {
        let mut request = http::Request::new(&self.method, &self.url);
        for (name, value) in &self.headers {
            request = request.with_header(name, value);
        }
        if let Some((media_type, content)) = self.body {
            let data = match content {
                Content::Text(text) => text.into_bytes(),
                Content::Length(length) => vec![b'x'; length],
            };
            request = request.with_body(Body::new(&media_type, &data));
        }
        match self.timeout_ms {
            Some(millis) => request.with_timeout(Duration::from_millis(millis)),
            None => request,
        }
    }
}

fn outcome(answer: Result<http::Response>) -> Outcome {
    let error = match answer {
        Ok(response) => {
            let body = response.body();
            let length = body.byte_length();
            let beginning = body.byte_range(0, length.min(4096)).unwrap_or_default();
            return Outcome::Answer {
                status: response.status(),
                headers: response.headers().to_vec(),
                media_type: body.media_type(),
                length,
                text: String::from_utf8_lossy(&beginning).into_owned(),
            };
        }
        Err(error) => error,
    };
    Outcome::Refusal {
        error: match error {
            Error::InvalidInput(_) => "invalid-input",
            Error::NotFound(_) => "not-found",
            Error::Unavailable(_) => "unavailable",
            Error::Denied(_) => "denied",
            Error::Failed(_) => "failed",
        },
        field: error.field().map(str::to_owned),
        message: error.message().to_owned(),
    }
}
