//! The upstreams of a site. Their files are short, and are read at each look.

use std::sync::Arc;

use wharf_core::{LoadError, Name, UpstreamFile, UpstreamRelease};

use super::listing::{Kind, list, read_text};
use super::{Fingerprint, Found, Look, Ports, Scan, Scanner};
use crate::watcher::Whole;

impl Scanner {
    pub(super) fn scan_upstreams(
        &mut self,
        ports: Ports<'_>,
        (look, whole): (Look, &Whole),
        scan: &mut Scan,
    ) {
        let names = list(&self.site, Kind::Upstreams, &mut scan.errors);
        scan.upstreams.complete = names.is_some();
        for name in names.into_iter().flatten() {
            let file = format!("upstreams/{name}.toml");
            let path = self.site.join(&file);
            let found = if Fingerprint::of(std::slice::from_ref(&path)).unsettled(look, whole) {
                scan.unsettled = true;
                Found::Held
            } else {
                match read_text(&path, &file) {
                    // It went between the listing and the reading; the next look says what became of it.
                    Ok(None) => Found::Held,
                    Ok(Some(text)) => self.read_upstream(ports, &name, text),
                    Err(error) => Found::Refused(Arc::new(error)),
                }
            };
            scan.upstreams.found.insert(name, found);
        }
    }

    fn read_upstream(&self, ports: Ports<'_>, name: &Name, text: String) -> Found<UpstreamRelease> {
        let Some(upstreams) = ports.upstreams else {
            let file = format!("upstreams/{name}.toml");
            let message = "this program reaches no other servers; take the file out";
            return Found::Refused(Arc::new(LoadError::new(file, message)));
        };
        let file = UpstreamFile {
            site: self.site.clone(),
            name: name.clone(),
            text: text.into(),
        };
        match upstreams.port.read(&file) {
            Ok(release) => Found::Is(release),
            Err(error) => Found::Refused(Arc::new(error)),
        }
    }
}
