//! When a certificate ends. What is read of it is only that: rustls judges the rest.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode as _, Reader as _, SliceReader, Tag};

/// The end of a certificate in seconds since 1970 (RFC 5280, 4.1: `tbsCertificate.validity.notAfter`).
///
/// # Errors
/// Where it is no certificate.
pub(super) fn expires(certificate: &[u8]) -> der::Result<i64> {
    let certificate = AnyRef::from_der(certificate)?;
    let mut parts = SliceReader::new(certificate.value())?;
    let signed: AnyRef<'_> = parts.decode()?;
    let mut fields = SliceReader::new(signed.value())?;
    // The version is there from version 2 on.
    if fields.peek_tag()?.is_context_specific() {
        let _version: AnyRef<'_> = fields.decode()?;
    }
    let _serial_number: AnyRef<'_> = fields.decode()?;
    let _signature: AnyRef<'_> = fields.decode()?;
    let _issuer: AnyRef<'_> = fields.decode()?;
    let validity: AnyRef<'_> = fields.decode()?;
    let mut validity = SliceReader::new(validity.value())?;
    let _not_before: AnyRef<'_> = validity.decode()?;
    let since = match validity.peek_tag()? {
        Tag::UtcTime => validity.decode::<UtcTime>()?.to_unix_duration(),
        _ => validity.decode::<GeneralizedTime>()?.to_unix_duration(),
    };
    Ok(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Whether a time in seconds since 1970 has passed.
pub(super) fn is_past(seconds: i64) -> bool {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let end = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    end.is_some_and(|end| end < SystemTime::now())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_is_that_of_the_certificate() {
        let key = KeyPair::generate().unwrap();
        // Times up to 2049 are written otherwise than later ones.
        for (year, seconds) in [(2030, 1_893_456_000), (2060, 2_840_140_800)] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 1);
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(expires(certificate.der()).unwrap(), seconds);
            assert!(!is_past(seconds));
        }
        assert!(is_past(1_000_000_000));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for bytes in [&b""[..], b"\x30\x80", b"\x30\x02\x30\x00", &[0x30; 100]] {
            assert!(expires(bytes).is_err(), "{bytes:?}");
        }
    }
}
