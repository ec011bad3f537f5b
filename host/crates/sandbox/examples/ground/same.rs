//! A target of calls that costs nothing.

use std::sync::Arc;

use wharf_core::{BoxFuture, ModelCalls, Payload, RequestContext, Result};

/// Gives what it is given, and takes what is mirrored.
pub(crate) struct Same;

impl ModelCalls for Same {
    fn call<'a>(
        &'a self,
        _request: &'a Arc<RequestContext>,
        _target: &'a str,
        _version: Option<&'a str>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(async { Ok(input) })
    }

    fn mirror(
        &self,
        _request: &Arc<RequestContext>,
        _target: &str,
        _version: Option<&str>,
        _input: Payload,
    ) -> Result<()> {
        Ok(())
    }
}
