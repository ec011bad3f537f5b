//! Compares a component with the contract, so that what does not fit is said in words before anything runs.

mod wit;

use wasmtime::Engine;
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{
    Component, ComponentNamedList, Lift, Linker, Lower, Resource, ResourceAny, types,
};
use wharf_core::RequestContext;

use crate::abilities::{self, Grants};
use crate::bindings::v1::exports::{chunk_filter, lifecycle, router, token_filter};
use crate::bindings::v1::types::{Error, Payload};
use crate::bindings::v1::{self, Version};
use crate::guest::GuestState;
pub(crate) use wit::Contract;

const PACKAGE: &str = "wharf:plugin";

/// The WASI packages that a guest may import without a grant.
const WASI: [&str; 6] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

type Request = Resource<RequestContext>;
type Transform = (Result<Payload, Error>,);
type Filter = (Result<ResourceAny, Error>,);
type Filtered = (Result<token_filter::Verdict, Error>,);
type FilteredChunk = (Result<chunk_filter::Verdict, Error>,);

/// Checks the imports and exports of a component. Gives the version of the contract that it was built against.
///
/// # Errors
/// Every difference, in words.
pub(crate) fn check(
    linker: &Linker<GuestState>,
    component: &Component,
    grants: &Grants,
) -> Result<String, String> {
    let mut check = Check {
        engine: linker.engine(),
        contract: Contract::v1(),
        grants,
        differences: Vec::new(),
        version: None,
    };
    let ty = component.component_type();
    for (name, item) in ty.imports(check.engine) {
        check.import(name, &item.ty);
    }
    let mut stages = 0;
    for (name, item) in ty.exports(check.engine) {
        stages += usize::from(check.export(name, &item.ty));
    }
    check.result()?;
    if stages == 0 {
        return Err(format!(
            "the component exports no stage of {PACKAGE}: it must export at least one of {}",
            v1::EXPORTS[..5].join(", ")
        ));
    }
    let substituted = linker
        .substituted_component_type(component)
        .map_err(|error| format!("an import has another type than the contract: {error:#}"))?;
    check.types(&substituted);
    check.result()?;
    let (major, minor, patch) = check.version.unwrap_or(v1::VERSION);
    Ok(format!("{major}.{minor}.{patch}"))
}

struct Check<'a> {
    engine: &'a Engine,
    contract: Contract,
    grants: &'a Grants,
    differences: Vec<String>,
    version: Option<Version>,
}

impl Check<'_> {
    fn result(&self) -> Result<(), String> {
        if self.differences.is_empty() {
            Ok(())
        } else {
            Err(self.differences.join("; "))
        }
    }

    fn import(&mut self, name: &str, item: &ComponentItem) {
        let Some((interface, version)) = split(name) else {
            if let Some(reason) = self.foreign_import(name) {
                self.differences.push(reason);
            }
            return;
        };
        if !self.supported(name, version) {
            return;
        }
        let ability = abilities::NAMES.contains(&interface);
        if !ability && !v1::IMPORTS.contains(&interface) {
            self.differences.push(format!(
                "the component imports {name}, which contract {} does not have; it has {}, {}",
                self.contract.version(),
                v1::IMPORTS.join(", "),
                abilities::NAMES.join(", ")
            ));
            return;
        }
        if ability && !self.grants.has(interface) {
            self.differences.push(format!(
                "the component imports {name}, which needs the grant {interface:?}: \
                 remove the import, or grant it in [grants] of the plugin's settings"
            ));
            return;
        }
        let ComponentItem::ComponentInstance(instance) = item else {
            self.differences
                .push(format!("the import {name} is no interface"));
            return;
        };
        for function in functions(instance, self.engine) {
            if self.contract.signature(interface, &function).is_none() {
                self.differences.push(format!(
                    "the component imports {function} of {name}, which contract {} does not have: \
                     it was built against a newer one; update the host, or build against this one",
                    self.contract.version()
                ));
            }
        }
    }

    /// Why the import of another package cannot be served.
    fn foreign_import(&self, name: &str) -> Option<String> {
        let wasi = WASI.iter().any(|package| name.starts_with(package));
        let version = name.split_once('@').map(|(_, version)| version);
        if wasi && version.is_some_and(|version| version.starts_with("0.2.")) {
            return None;
        }
        Some(if wasi {
            format!("the component imports {name}; this host has WASI 0.2")
        } else if name.starts_with("wasi:http/") {
            format!(
                "the component imports {name}, which this host does not have: use the interface http of {PACKAGE}"
            )
        } else {
            format!(
                "the component imports {name}, which neither the contract nor WASI 0.2 has: remove the import"
            )
        })
    }

    /// Gives whether the export is a stage.
    fn export(&mut self, name: &str, item: &ComponentItem) -> bool {
        let Some((interface, version)) = split(name) else {
            // A component may export what is not meant for this host.
            return false;
        };
        if !self.supported(name, version) {
            return false;
        }
        if !v1::EXPORTS.contains(&interface) {
            self.differences.push(format!(
                "the component exports {name}, which contract {} does not have; it has {}",
                self.contract.version(),
                v1::EXPORTS.join(", ")
            ));
            return false;
        }
        let ComponentItem::ComponentInstance(instance) = item else {
            self.differences
                .push(format!("the export {name} is no interface"));
            return false;
        };
        let exported = functions(instance, self.engine);
        for (function, signature) in self.contract.functions(interface) {
            if !exported.contains(function) {
                self.differences.push(format!(
                    "the export {name} lacks the function {function}; the contract says `{signature}`"
                ));
            }
        }
        interface != "lifecycle"
    }

    /// Whether the host has the version; notes it.
    fn supported(&mut self, name: &str, version: Option<Version>) -> bool {
        let (major, minor, _) = v1::VERSION;
        let Some(version) = version else {
            self.differences.push(format!(
                "{name} has no version; this host has contract {}",
                self.contract.version()
            ));
            return false;
        };
        if version.0 != major || version.1 > minor {
            self.differences.push(format!(
                "{name} is of contract {}.{}.{}; this host has {}: use a host that has it, or build against this one",
                version.0,
                version.1,
                version.2,
                self.contract.version()
            ));
            return false;
        }
        self.version = self.version.max(Some(version));
        true
    }

    /// Compares the types of the exported functions.
    fn types(&mut self, ty: &types::Component) {
        self.function::<(Request, Payload), Transform>(ty, "preprocess", "process");
        self.function::<(Request, Payload), Transform>(ty, "postprocess", "process");
        self.function::<(Request, Vec<router::Candidate>), (Result<u32, Error>,)>(
            ty, "router", "route",
        );
        self.function::<(Request,), Filter>(ty, "token-filter", "open");
        self.function::<(ResourceAny, Vec<token_filter::Token>), Filtered>(
            ty,
            "token-filter",
            "[method]filter.push",
        );
        self.function::<(ResourceAny,), (Result<Vec<token_filter::Token>, Error>,)>(
            ty,
            "token-filter",
            "[method]filter.finish",
        );
        self.function::<(Request, String), Filter>(ty, "chunk-filter", "open");
        self.function::<(ResourceAny, Vec<u8>), FilteredChunk>(
            ty,
            "chunk-filter",
            "[method]filter.push",
        );
        self.function::<(ResourceAny,), (Result<Vec<u8>, Error>,)>(
            ty,
            "chunk-filter",
            "[method]filter.finish",
        );
        self.function::<(), (lifecycle::Description,)>(ty, "lifecycle", "describe");
        self.function::<(String,), (Result<(), Error>,)>(ty, "lifecycle", "init");
        self.function::<(), (Result<(), Error>,)>(ty, "lifecycle", "self-test");
    }

    fn function<Params, Return>(&mut self, ty: &types::Component, interface: &str, name: &str)
    where
        Params: ComponentNamedList + Lower,
        Return: ComponentNamedList + Lift,
    {
        let found =
            ty.exports(self.engine)
                .find_map(|(export, item)| match (split(export), item.ty) {
                    (Some((found, _)), ComponentItem::ComponentInstance(instance))
                        if found == interface =>
                    {
                        instance.get_export(self.engine, name).map(|item| item.ty)
                    }
                    _ => None,
                });
        let problem = match found {
            None => return,
            Some(ComponentItem::ComponentFunc(function)) => function
                .typecheck::<Params, Return>(&ty.instance_type())
                .err()
                .map(|error| format!("{error:#}")),
            Some(_) => Some("it is no function".to_owned()),
        };
        if let Some(problem) = problem {
            let signature = self.contract.signature(interface, name).unwrap_or_default();
            self.differences.push(format!(
                "the export {name} of {PACKAGE}/{interface} has another type than the contract: {problem}; \
                 the contract says `{signature}`"
            ));
        }
    }
}

fn functions(instance: &ComponentInstance, engine: &Engine) -> Vec<String> {
    instance
        .exports(engine)
        .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Splits `wharf:plugin/types@1.0.0` into interface and version. None for names of other packages.
fn split(name: &str) -> Option<(&str, Option<Version>)> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    let Some((interface, version)) = rest.split_once('@') else {
        return Some((rest, None));
    };
    let mut numbers = version.splitn(3, '.').map(str::parse);
    let mut number = || numbers.next()?.ok();
    let version = (|| Some((number()?, number()?, number()?)))();
    Some((interface, version))
}
