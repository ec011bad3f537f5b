//! Does wrong, in the way that the header `x-behaviour` or the setting `behaviour` says; see [`Behaviour`].
//!
//! `x-behaviour` is for preprocess and route, `x-behaviour-post` for postprocess, `x-behaviour-open` for the begin of a text or a body,
//! whose tokens or chunks say the rest; `x-count` says how many or how much.
//! The settings `init` and `self_test` say what those do.

mod behaviour;
mod filter;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde::Deserialize;
use wharf_plugin_sdk::{
    Candidate, ChunkFilter, Error, Lifecycle, Payload, Plugin, Postprocess, Preprocess, Request,
    Result, Router, Token, TokenFilter,
};

use behaviour::Behaviour;
use filter::Obedient;

struct Hostile {
    settings: Settings,
    /// What an earlier request left behind: nothing may be here where instances are not shared.
    secret: RefCell<Option<String>>,
    /// The filters of texts and bodies that live.
    filters: Rc<Cell<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What a stage does where no header says.
    behaviour: Behaviour,
    /// What `init` does.
    init: Behaviour,
    /// What `self-test` does.
    self_test: Behaviour,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            behaviour: Behaviour::Pass,
            init: Behaviour::Pass,
            self_test: Behaviour::Pass,
        }
    }
}

impl Plugin for Hostile {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        settings.init.alone("init")?;
        Ok(Self {
            settings,
            secret: RefCell::new(None),
            filters: Rc::default(),
        })
    }
}

impl Preprocess for Hostile {
    fn preprocess(&self, request: &Request, input: Payload) -> Result<Payload> {
        self.behaviour(request, "x-behaviour")?
            .stage(request, input, &self.secret)
    }
}

impl Postprocess for Hostile {
    fn postprocess(&self, request: &Request, output: Payload) -> Result<Payload> {
        self.behaviour(request, "x-behaviour-post")?
            .stage(request, output, &self.secret)
    }
}

impl Router for Hostile {
    /// Chooses the candidate whose index is in `x-pick`, which may be none; otherwise the first.
    fn route(&self, request: &Request, candidates: &[Candidate]) -> Result<usize> {
        self.behaviour(request, "x-behaviour")?.alone("route")?;
        let pick = request
            .header("x-pick")
            .and_then(|index| index.parse().ok());
        Ok(pick.unwrap_or(0).min(candidates.len()))
    }
}

impl TokenFilter for Hostile {
    type Filter = Obedient<Vec<Token>>;

    fn open(&self, request: &Request) -> Result<Obedient<Vec<Token>>> {
        self.behaviour(request, "x-behaviour-open")?.alone("open")?;
        Ok(Obedient::new(&self.filters))
    }
}

impl ChunkFilter for Hostile {
    type Filter = Obedient<Vec<u8>>;

    fn open_body(&self, request: &Request, media_type: &str) -> Result<Obedient<Vec<u8>>> {
        self.behaviour(request, "x-behaviour-open")?.alone("open")?;
        if media_type == "text/refused" {
            return Err(Error::invalid_field("media-type", "hostile: refuses"));
        }
        Ok(Obedient::new(&self.filters))
    }
}

impl Lifecycle for Hostile {
    fn self_test(&self) -> Result<()> {
        self.settings.self_test.alone("self-test")
    }
}

wharf_plugin_sdk::export!(Hostile: preprocess, postprocess, router, token_filter, chunk_filter, lifecycle);

impl Hostile {
    fn behaviour(&self, request: &Request, header: &str) -> Result<Behaviour> {
        match request.header(header) {
            Some(name) => Behaviour::named(&name)
                .ok_or_else(|| Error::invalid_field(header, "is no behaviour")),
            None => Ok(self.settings.behaviour),
        }
    }
}
