//! Passes every payload through, before and after the model. It exports no lifecycle.

use wharf_plugin_sdk::{NoSettings, Payload, Plugin, Postprocess, Preprocess, Request, Result};

struct Echo;

impl Plugin for Echo {
    type Settings = NoSettings;

    fn new(_settings: NoSettings) -> Result<Self> {
        Ok(Self)
    }
}

impl Preprocess for Echo {
    fn preprocess(&self, _request: &Request, input: Payload) -> Result<Payload> {
        Ok(input)
    }
}

impl Postprocess for Echo {
    fn postprocess(&self, _request: &Request, output: Payload) -> Result<Payload> {
        Ok(output)
    }
}

wharf_plugin_sdk::export!(Echo: preprocess, postprocess);
