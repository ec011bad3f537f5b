//! The promises of the project, through the real binary and over the network.

mod admin;
mod artifacts;
mod authoring;
mod breaker;
mod bundle_tools;
mod bundles;
mod catalog;
mod check;
mod classes;
mod clients;
mod components;
mod demo;
mod gateway;
mod guide;
mod hostile;
mod languages;
mod lifecycle;
mod management;
mod memory;
mod metrics;
mod mock;
mod model_ability;
mod models;
mod openapi;
mod overload;
mod plugins;
mod protocol;
mod recordings;
mod reload;
mod rollback;
mod routers;
mod shadow;
mod shutdown;
mod text_embedding;
mod traces;
mod upstreams;
mod watching;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wharf_e2e::{Client, Request, Wharf};

/// A request to a route in front of an adder, `y = x + amount`.
fn one_to_four(route: &str) -> Request {
    Request::json(
        format!("/v1/infer/{route}"),
        &json!({"input": [1, 2, 3, 4]}),
    )
}

/// Whether an answer to [`one_to_four`] is `1, 2, 3, 4` plus an amount.
fn is_shifted_by(amount: f64) -> impl Fn(&str) -> bool {
    let expected: Vec<_> = [1.0, 2.0, 3.0, 4.0].iter().map(|x| x + amount).collect();
    move |answer| serde_json::from_str(answer).is_ok_and(|answer| output(&answer) == expected)
}

/// Checks that the route answers [`one_to_four`] with `1, 2, 3, 4` plus an amount.
async fn expect_shifted_by(client: &mut Client, route: &str, amount: f64) -> Result<()> {
    let answer = client.send(&one_to_four(route)).await?.ok()?;
    ensure!(
        is_shifted_by(amount)(&answer.to_string()),
        "the route {route} answered {answer}, not x + {amount}"
    );
    Ok(())
}

/// The numbers of an answer's `output`, whatever its shape.
fn output(answer: &Value) -> Vec<f64> {
    fn collect(value: &Value, numbers: &mut Vec<f64>) {
        match value {
            Value::Number(number) => numbers.extend(number.as_f64()),
            Value::Array(items) => items.iter().for_each(|item| collect(item, numbers)),
            Value::Object(members) => members.values().for_each(|member| collect(member, numbers)),
            _ => {}
        }
    }
    let mut numbers = Vec::new();
    collect(&answer["output"], &mut numbers);
    numbers
}

/// What holds after every hostile case: the process is alive, a control request succeeds, and what was taken for requests
/// has been given back.
async fn expect_recovered(wharf: &mut Wharf, control: &str) -> Result<()> {
    ensure!(wharf.is_alive(), "the server has ended");
    wharf
        .client()
        .send(&one_to_four(control))
        .await?
        .ok()
        .context("the control request")?;
    wharf.expect_idle().await
}
