//! Begins uploads, as far as there is room for what they say of themselves.

use std::collections::HashMap;

use object_store::path::Path as ObjectPath;
use tokio::task::spawn_blocking;
use wharf_core::{Digest, Error, ErrorKind, NewUpload, Upload};

use super::{Answer, Artifacts, Inner};
use crate::config::Config;
use crate::entries;
use crate::fault::{of_disk, of_task};

impl Artifacts {
    pub(super) async fn start(&self, upload: NewUpload) -> Answer<Upload> {
        let config = &self.0.config;
        if upload.size > config.max_bytes {
            let message = format!(
                "the artifact is larger than the {} bytes that artifacts.max_bytes allows",
                config.max_bytes
            );
            return Err(Error::new(ErrorKind::TooLarge, message)
                .with_field("size")
                .into());
        }
        upload.check(self.there(&upload.place).await?.as_ref())?;
        // Of two that begin at the same time, the later one counts the earlier.
        let _beginning = self.0.beginning.lock().await;
        let spool = self.0.spool.clone();
        let under_way = spawn_blocking(move || spool.all()).await;
        let under_way = under_way.map_err(of_task)?.map_err(of_disk)?;
        check_count(config, &under_way, &upload)?;
        // A content that several artifacts have counts once, also while it comes again.
        let stored = self.entries(&ObjectPath::from(entries::ROOT)).await?;
        let mut contents: HashMap<Digest, u64> =
            stored.iter().map(|one| (one.digest, one.size)).collect();
        let coming = under_way.iter().map(|upload| &upload.of);
        contents.extend(coming.chain([&upload]).map(|one| (one.digest, one.size)));
        let taken = contents.values().copied().fold(0, u64::saturating_add);
        if taken > config.max_total_bytes {
            let message = format!(
                "all artifacts together would take more than the {} bytes that artifacts.max_total_bytes allows; delete some",
                config.max_total_bytes
            );
            return Err(Error::new(ErrorKind::NoRoom, message).into());
        }
        let store = self.clone();
        let begun = spawn_blocking(move || {
            let Inner { spool, room, .. } = &*store.0;
            // What is announced and has not come yet is not on the disk, and will be.
            let coming = under_way
                .iter()
                .map(|one| one.of.size.saturating_sub(one.offset));
            std::fs::create_dir_all(spool.folder()).map_err(of_disk)?;
            let needed = coming.fold(upload.size, u64::saturating_add);
            room.check(spool.folder(), needed)?;
            spool.begin(upload).map_err(of_disk)
        });
        begun.await.map_err(of_task)?
    }
}

/// Refuses one more where there are as many as there may be, in all or of its tenant.
fn check_count(config: &Config, under_way: &[Upload], upload: &NewUpload) -> Answer<()> {
    if under_way.len() >= config.max_uploads {
        let message = "too many uploads are under way; finish or delete some, or try again later";
        return Err(Error::new(ErrorKind::Unavailable, message).into());
    }
    let of_tenant = under_way
        .iter()
        .filter(|one| one.of.tenant == upload.tenant);
    if upload.tenant.is_some() && of_tenant.count() >= config.max_uploads_per_tenant {
        let message = format!(
            "{} uploads of your tenant are under way, which is as many as may be; finish or delete some",
            config.max_uploads_per_tenant
        );
        return Err(Error::new(ErrorKind::QuotaExceeded, message).into());
    }
    Ok(())
}
