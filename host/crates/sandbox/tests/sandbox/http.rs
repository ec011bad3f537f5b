//! Outbound requests of a plugin, against servers of every kind.

mod answers;
mod faults;
mod server;
mod tls;

use std::sync::Arc;

use serde_json::{Value, json};
use wharf_core::{Plugin, RequestContext};

use self::server::Server;
use crate::site::{Site, body, guest, request, text};

/// Loads the guest that asks, with the grant.
fn outbound(site: &Site, grant: &str) -> Arc<dyn Plugin> {
    let settings = format!("[grants.http]\n{grant}\n[limits]\nmemory_mb = 64");
    site.load("outbound", &guest("outbound"), &settings)
        .unwrap()
}

/// Lets the plugin do what the plan says. Gives what each request came to.
async fn ask(plugin: &Arc<dyn Plugin>, plan: Value) -> Vec<Value> {
    ask_for(plugin, &request(), plan).await
}

async fn ask_for(
    plugin: &Arc<dyn Plugin>,
    request: &Arc<RequestContext>,
    plan: Value,
) -> Vec<Value> {
    let answer = plugin
        .preprocess(request, body(&plan.to_string()))
        .await
        .unwrap();
    serde_json::from_str(&text(&answer)).unwrap()
}

/// Asks for one address.
async fn get(plugin: &Arc<dyn Plugin>, url: &str) -> Value {
    ask(plugin, json!({"requests": [{"url": url}]}))
        .await
        .remove(0)
}

/// What the server saw of a request that it echoed.
fn seen(outcome: &Value) -> Value {
    let text = outcome["text"].as_str();
    let text = text.unwrap_or_else(|| panic!("no answer: {outcome}"));
    serde_json::from_str(text).unwrap()
}

/// The values of a header field that the server saw.
fn fields<'a>(seen: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = seen["headers"].as_array().unwrap();
    headers
        .iter()
        .filter(|field| field[0] == name)
        .filter_map(|field| field[1].as_str())
        .collect()
}

fn grant(servers: &[&Server]) -> String {
    let origins: Vec<_> = servers.iter().map(|server| server.origin()).collect();
    format!("origins = {origins:?}")
}
